"""The model families. Each is one file with a config, a `loss` and a `sample`;
`training/registry.py` lists them.
"""

from course_utils.base.lazy import lazy_door

__getattr__, __dir__ = lazy_door(
    __name__,
    {
        "course_utils.models.base": ["Batch", "Model"],
        "course_utils.models.classifier": ["Classifier", "ClassifierConfig"],
        "course_utils.models.gaussian": ["Gaussian", "GaussianConfig", "fit_class_gaussians"],
        "course_utils.models.vae": ["VAE", "VAEConfig", "gaussian_kl", "reparameterise"],
        "course_utils.models.dcgan": ["DCGAN", "DCGANConfig", "discriminator_loss"],
        "course_utils.models.latents": [
            "active_dims",
            "arc_path",
            "fit_latent_density",
            "plane_grid",
            "prior_quantiles",
            "straight_path",
            "traversal",
        ],
        "course_utils.models.toy_vae": [
            "ToyLatentModel",
            "best_gaussian",
            "elbo",
            "gap",
            "latent_grid",
            "log_normal",
            "reconstruction",
            "reparameterised_gradients",
        ],
        "course_utils.models.diffusion.model": ["Diffusion", "DiffusionConfig"],
    },
)
