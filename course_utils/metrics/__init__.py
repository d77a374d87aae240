"""Metrics of images and of models' likelihoods. They take arrays and functions, never models, files
or trainings.
"""

from course_utils.base.lazy import lazy_door

__getattr__, __dir__ = lazy_door(
    __name__,
    {
        "course_utils.metrics.measurement": [
            "Measurement",
            "bootstrap",
            "is_difference_real",
            "is_effect_real",
            "mean_over_images",
            "mean_over_seeds",
            "seed_error",
        ],
        "course_utils.metrics.features": [
            "aligned_pixel_extractor",
            "class_probabilities",
            "classifier_extractor",
            "extract",
            "inception_extractor",
            "pixel_extractor",
        ],
        "course_utils.metrics.frechet": [
            "fid",
            "fid_infinity",
            "fit_gaussian",
            "frechet_distance",
            "frechet_terms",
            "kid",
            "kid_subsets",
            "squared_mmd",
        ],
        "course_utils.metrics.neighbours": [
            "density_coverage",
            "nearest",
            "nearest_distances",
            "nearest_neighbour_accuracy",
            "precision_recall",
        ],
        "course_utils.metrics.classes": [
            "class_agreement",
            "class_coverage",
            "class_histogram",
            "class_kl",
            "inception_score",
            "mean_confidence",
        ],
        "course_utils.metrics.paired": ["mse", "psnr", "rmse", "ssim", "ssim_maps"],
        "course_utils.metrics.likelihood": ["importance_weighted_bound"],
        "course_utils.metrics.memorization": [
            "LEVELS",
            "MemorizationTest",
            "authenticity",
            "data_copying_statistic",
            "hypergeometric_tail",
        ],
        "course_utils.metrics.roc": ["auc"],
    },
)
