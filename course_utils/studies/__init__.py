"""Studies: what can be asked of a trained model, or of many: evaluation, comparison, sweeps,
copies, the clinic, toys.
"""

from course_utils.base.lazy import lazy_door

__getattr__, __dir__ = lazy_door(
    __name__,
    {
        "course_utils.studies.clinic": [
            "Adapter",
            "Examiner",
            "as_adapter",
            "diagnose",
            "sweep_panels",
        ],
        "course_utils.studies.collapse": [
            "collapse_cells",
            "collapse_film",
            "collapse_results",
            "collapse_study",
            "collapse_training",
            "collapse_words",
            "loss_words",
            "losses_and_kl",
            "ring_film",
            "ring_study",
        ],
        "course_utils.studies.compare": [
            "BETTER",
            "compare_families",
            "shipped_comparison",
            "shipped_datasets",
            "shipped_rows",
        ],
        "course_utils.studies.copies": ["PowerRow", "power_curve"],
        "course_utils.studies.corruptions": ["blurred", "noisy", "planted_copies"],
        "course_utils.studies.draw": [
            "draw_images",
            "drawing_seconds",
            "label_frequencies",
            "network_calls",
        ],
        "course_utils.studies.editing": ["edit_tradeoff", "edited", "paintings", "style_sheet"],
        "course_utils.studies.evaluate": [
            "binarised_test_images",
            "evaluate_images",
            "find_extractor",
        ],
        "course_utils.studies.outliers": ["outlier_score"],
        "course_utils.studies.ring": ["NUM_MODES", "ring_centres", "ring_image", "train_ring"],
        "course_utils.studies.training_sets": [
            "BiasRow",
            "bias_over_seeds",
            "synthetic_accuracy",
            "trained_accuracy",
        ],
        "course_utils.studies.two_kinds": [
            "accuracy",
            "brief_cnn",
            "divergences",
            "facts_of_images",
            "few_label_accuracies",
            "few_labelled",
            "ink_of_two_classes",
            "label_scores",
            "naive_bayes_crossing",
            "small_grey",
            "strange_images",
        ],
    },
)
