"""Images in the files of other tools: `.npz` and `.npy`, whatever the type, the range and the order
of the axes, as uint8. What cannot be told from the file alone is refused, never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from course_utils.base.errors import CourseError
from course_utils.base.images import LUMA, TOLERANCE
from course_utils.data.dataset import Dataset

IMAGE_KEYS = ("images", "samples", "arr_0", "x")  # the course; torch and JAX projects; NumPy; Keras
LABEL_KEYS = ("labels", "label", "y")
ACCEPTED = "a file .npz or .npy, a run directory, pretrained:FAMILY/DATASET, or folder:PATH"
PICTURES = (".png", ".jpg", ".jpeg", ".jfif", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".avif")
REMEDIES = {
    ".zip": "unpack it, and give folder:PATH if it holds pictures",
    ".safetensors": "give the run directory in which it lies",
    **dict.fromkeys(
        (".pt", ".pth", ".pkl", ".pickle"),
        "it may hold a program, so it is never opened; save its images with"
        " `np.savez('images.npz', images=images.numpy())`",
    ),
}
NPY_START, ZIP_START = b"\x93NUMPY", b"PK"
SAVE = "save the pixels with `np.savez('images.npz', images=images)`"

# Below these a range cannot be told from a smaller one: of an image that reaches from 0 to 2 or to
# 16 nobody knows what is white, and one from -0.5 to 0.5 is probably not in [-1, 1].
SMALLEST_OF_UNIT, LARGEST_OF_255 = 2 / 255, 100
SMALLEST_OF_SIGNED, NARROWEST_SIGNED = -0.75, 1.05
SMALLEST_OF_16_BITS = 2**14  # cameras of 10, 12 and 14 bits use this type as well
OVERSHOOT = 1e-3  # of white, a quarter of a level: more than rounding, too little to be a range


class ImageSet(NamedTuple):
    """Images of any source.

    Attributes:
        images: uint8 `[N, C, H, W]`.
        labels: int64 `[N]`, the classes that were asked for; None where nobody says.
        notes: a sentence for each thing that was done to the images.
    """

    images: Tensor
    labels: Tensor | None = None
    notes: tuple[str, ...] = ()


def read_arrays(path: Path, dataset: Dataset, *, grey: bool = False) -> ImageSet:
    """Returns the images of a file that NumPy wrote, and the labels beside them, as the dataset has
    them.

    Taken are uint8, other whole numbers up to 255 or 65,535, bool, and floats in [0, 1], [-1, 1] or
    [0, 255]; channels first or last, or no axis of channels; grey as it is or stored as RGB.

    Args:
        path: .npz with `images`, `samples`, `arr_0`, `x` or a single array of images, or .npy.
        dataset: whose size, channels and classes the images are to have.
        grey: average colours by luminance where the dataset is grey.

    Raises:
        CourseError: a file that cannot be read or holds no images, images of another size, or
            pixels whose range cannot be told.
    """
    arrays, names = _load(path)
    name = _name_of_images(path, arrays)
    notes = []
    if len([other for other in names if other.lower() not in LABEL_KEYS]) > 1:
        notes.append(f"array `{name}` taken of {', '.join(names)}")
    pixels, layout = _channels_first(path, arrays[name], dataset.image_shape)
    images, how = _as_uint8(path, pixels, layout)
    done = [text for text in (how or "uint8", layout) if text]
    labels = _labels(path, arrays, name, len(images), dataset.num_classes)
    found = fitted(ImageSet(torch.from_numpy(images), labels), dataset, str(path), grey=grey)
    if how or layout:
        notes.append(f"{', '.join(done)}: converted to {'uint8' if how else '[N, C, H, W]'}")
    return found._replace(notes=(*notes, *found.notes))


def fitted(found: ImageSet, dataset: Dataset, source: str, *, grey: bool = False) -> ImageSet:
    """Returns images with the channels of a dataset: RGB without colour becomes grey, and grey is
    repeated in three channels.

    Args:
        grey: average colours by luminance where the dataset is grey.

    Raises:
        CourseError: images of another size, or colour where the dataset has none.
    """
    images, notes = found.images, []
    channels, *size = dataset.image_shape
    if list(images.shape[2:]) != size:
        own = dataset.folder is not None and images.shape[2] == images.shape[3]
        other = f", or compare at their size with --image-size {images.shape[2]}" if own else ""
        raise CourseError(
            f"{source}: expected images of {size[0]} by {size[1]} pixels like {dataset.name}, got"
            f" {images.shape[2]} by {images.shape[3]}; resize them before saving{other}."
        )
    if images.shape[1] == 3 and channels == 1:
        apart = int((images.amax(1).int() - images.amin(1).int()).max()) if len(images) else 0
        if apart > 0 and not grey:
            raise CourseError(
                f"{source}: expected grey images like {dataset.name}, got colours (red, green and"
                f" blue differ by up to {apart} of 255); --grey averages them by luminance."
            )
        how = "colours averaged by luminance" if apart else "grey stored as RGB: one channel taken"
        images = _luminance(images) if apart else images[:, :1]
        notes.append(how)
    elif images.shape[1] == 1 and channels == 3:
        images = images.expand(-1, 3, -1, -1)
        notes.append(f"grey, repeated in three channels like {dataset.name}")
    if len(images) > 1 and bool((images == images[:1]).all()):
        notes.append(f"all {len(images):,} images are equal")
    return ImageSet(images.contiguous(), found.labels, (*found.notes, *notes))


def _luminance(images: Tensor) -> Tensor:
    """Returns RGB as grey, uint8 `[N, 1, H, W]`; in pieces, for doubles take eight times the
    memory.
    """
    weights = torch.tensor(LUMA, dtype=torch.float64)[:, None, None]
    pieces = [(piece * weights).sum(1, keepdim=True).round() for piece in images.split(500)]
    return torch.cat([piece.to(torch.uint8) for piece in pieces])


def explain_other_file(path: Path) -> CourseError:
    """Returns the error for a path that is no source of images: what it is, and what to give."""
    if not path.exists():
        return CourseError(f"{path}: there is no such file or folder; expected {ACCEPTED}.")
    suffix = path.suffix.lower()
    if suffix in PICTURES:
        remedy = (
            "one picture is no set of images. Give folder:PATH, with a picture a file, or the"
            " FILE.npz that `course sample --out FILE.npz` writes"
        )
        return CourseError(f"{path}: {remedy}.")
    remedy = REMEDIES.get(suffix, SAVE)
    return CourseError(
        f"{path}: expected {ACCEPTED}, got a file {suffix or 'without ending'}; {remedy}."
    )


def _load(path: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """Returns the arrays that may be images or labels, by name (of a .npy the one as `images`), and
    the names of all arrays in the file.
    """
    place, remedy = str(path), f"make one array of numbers of the images and {SAVE}"
    try:
        with path.open("rb") as file:
            start = file.read(len(NPY_START))
        if start != NPY_START and start[:2] != ZIP_START:
            pickled = ": Python objects, which may hold a program" if start[:1] == b"\x80" else ""
            raise CourseError(
                f"{path}: expected a file of NumPy arrays, got another kind of file{pickled};"
                f" {SAVE}."
            )
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return {"images": found}, ["images"]
        with found:
            known = [name for name in found.files if name.lower() in IMAGE_KEYS]
            labels = [name for name in found.files if name.lower() in (*LABEL_KEYS, "arr_1")]
            others = [name for name in found.files if name not in labels]
            wanted = [*(known or others), *labels]
            arrays = {}
            for name in wanted:
                place = f"{path}: {name}"
                if name in labels:
                    remedy = f"leave `{name}` out, or save whole numbers"
                arrays[name] = found[name]
                if not isinstance(arrays[name], np.ndarray):  # bytes, where no array begins there
                    raise CourseError(
                        f"{place}: expected an array of NumPy, got a damaged or another file; save"
                        " or copy it again."
                    )
            return arrays, found.files
    except CourseError:
        raise
    except FileNotFoundError as error:
        raise explain_other_file(path) from error
    # damage shows as an error of zipfile, zlib, struct, tokenize, ... and many built-in ones
    except Exception as error:
        if "pickle" in str(error):  # NumPy has no class of its own for it
            raise CourseError(
                f"{place}: holds Python objects, which are not loaded, since they may hold a"
                f" program; {remedy}."
            ) from error
        raise CourseError(
            f"{place}: cannot be read as a file of NumPy arrays ({error}); save or copy it again."
        ) from error


def _name_of_images(path: Path, arrays: Mapping[str, np.ndarray]) -> str:
    by_lower = {name.lower(): name for name in reversed(list(arrays))}
    known = [by_lower[key] for key in IMAGE_KEYS if key in by_lower]
    shaped = [name for name, array in arrays.items() if array.ndim in (3, 4)]
    if known or len(shaped) == 1:
        return (known or shaped)[0]
    shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items())
    raise CourseError(
        f"{path}: expected the array `images` (or {', '.join(IMAGE_KEYS[1:])}), got"
        f" {shapes or 'no array'}; {SAVE}."
    )


def _labels(
    path: Path, arrays: Mapping[str, np.ndarray], taken: str, num_images: int, num_classes: int
) -> Tensor | None:
    """Returns the labels of a file, int64 `[N]`, or None where it holds none."""
    by_lower = {name.lower(): name for name in arrays}
    name = next((by_lower[key] for key in LABEL_KEYS if key in by_lower), None)
    if name is None and taken == "arr_0" and "arr_1" in arrays:  # np.savez(file, images, labels)
        beside = arrays["arr_1"]
        name = "arr_1" if beside.shape == (num_images,) and beside.dtype.kind in "iu" else None
    if name is None:
        return None
    values = arrays[name]
    remedy = f"; leave `{name}` out, or save int64 [{num_images}]"
    if values.dtype.kind not in "biuf":
        raise CourseError(f"{path}: {name}: expected whole numbers, got {values.dtype}{remedy}.")
    if values.ndim == 2 and values.shape[1] > 1 and _is_one_hot(values):
        values = values.argmax(1)
    elif values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.shape != (num_images,):
        raise CourseError(
            f"{path}: {name}: expected one class for each of {num_images:,} images, got shape"
            f" {list(values.shape)}{remedy}."
        )
    if not (values == np.floor(values)).all():  # false for NaN as well
        raise CourseError(f"{path}: {name}: expected whole numbers, got fractions{remedy}.")
    if values.min() < 0 or values.max() >= num_classes:
        low, high = float(values.min()), float(values.max())  # infinity is a float only
        raise CourseError(
            f"{path}: {name}: expected classes from 0 to {num_classes - 1}, got"
            f" {low:.15g} to {high:.15g}{remedy}."
        )
    return torch.from_numpy(values.astype(np.int64))


def _is_one_hot(values: np.ndarray) -> bool:
    return bool(((values == 0) | (values == 1)).all() and (values.sum(1) == 1).all())


def _channels_first(
    path: Path, array: np.ndarray, wanted: tuple[int, int, int]
) -> tuple[np.ndarray, str]:
    """Returns an array as `[N, C, H, W]`, and in words what it was; "" where it was so."""
    shape, (channels, height, width) = array.shape, wanted
    if array.ndim == 4 and shape[1] in (1, 3):
        return array, ""
    axes = _axes_of_images_last(shape, (height, width))
    if array.ndim == 4 and shape[3] in (1, 3) and not axes:
        return array.transpose(0, 3, 1, 2), "channels last"
    if array.ndim == 3 and shape[1:] != (width, 1) and shape[1:] != (width, 3) and not axes:
        return array[:, None], "without an axis of channels"
    if array.ndim == 2 and channels == 1 and shape[1] == height * width:
        return array.reshape(-1, *wanted), f"rows of {shape[1]} pixels"
    hint = f"; {SAVE}"
    if axes:
        hint = f"; the images do not lie along the first axis: save `images.transpose{axes}`"
    elif array.ndim == 4 and 4 in (shape[1], shape[3]):
        hint = "; lay the fourth channel, which is the opacity, over white before saving"
    elif array.ndim == 2 and shape[1] == channels * height * width:
        hint = "; give the rows the shape that each image had"
    elif array.ndim in (2, 3):
        hint = "; one image is no set: stack several along the first axis"
    raise CourseError(
        f"{path}: expected images [N, C, H, W] or [N, H, W, C] with 1 or 3 channels, or [N, H, W],"
        f" got shape {list(shape)}{hint}."
    )


def _axes_of_images_last(shape: tuple[int, ...], size: tuple[int, int]) -> tuple[int, ...] | None:
    """Returns how to transpose an array of MATLAB's order, height and width first; None for others.

    Square images of another size than wanted count too: to resize them would not help.
    """
    is_wanted = shape[:2] == size
    if len(shape) not in (3, 4) or shape[1:3] == size or not (is_wanted or shape[0] == shape[1]):
        return None
    if len(shape) == 3:
        return (2, 0, 1) if shape[2] > 4 and shape[2] != shape[1] else None
    if shape[2] in (1, 3):
        return (3, 2, 0, 1)
    return (2, 3, 0, 1) if is_wanted and shape[3] in (1, 3) else None


def _as_uint8(path: Path, pixels: np.ndarray, layout: str) -> tuple[np.ndarray, str]:
    """Returns pixels `[N, C, H, W]` as uint8, and in words what they were; "" where they were
    uint8. `layout` says in words how they were stored.
    """
    if pixels.dtype.kind not in "biuf":
        raise CourseError(
            f"{path}: expected pixels that are numbers, got the type {pixels.dtype}; {SAVE}."
        )
    if pixels.size == 0:
        raise CourseError(f"{path}: holds no images (shape {list(pixels.shape)}); draw some first.")
    if pixels.dtype == bool:
        return pixels * np.uint8(255), "bool, False as black and True as white"
    if pixels.dtype.kind == "f" and (num := int((~np.isfinite(pixels)).sum())):
        raise CourseError(
            f"{path}: {num:,} of {pixels.size:,} pixels are NaN or infinite; find where the"
            " generator diverges or divides by zero."
        )
    low, high = float(pixels.min()), float(pixels.max())
    if pixels.dtype == np.uint8 and high != 1:
        return np.ascontiguousarray(pixels), ""
    last = "images" if layout else "images.transpose(0, 2, 3, 1)"
    last = last if pixels.shape[1] == 3 else ""
    scale, offset, text = _range_of(path, pixels.dtype, low, high, last)
    images = np.empty(pixels.shape, np.uint8)
    for start in range(0, len(pixels), 500):  # doubles take eight times the memory
        piece = pixels[start : start + 500].astype(np.float64)
        images[start : start + 500] = ((piece + offset) * scale).round().clip(0, 255)
    return images, f"{pixels.dtype.name} in {text}"


def _range_of(
    path: Path, dtype: np.dtype, low: float, high: float, colours: str
) -> tuple[float, float, str]:
    """Returns scale and offset, so that (pixels + offset) * scale reaches from 0 to 255, and the
    range in words.

    Args:
        colours: code for the images with three channels last; "" where they have one.

    Raises:
        CourseError: smallest and largest pixel do not tell the range.
    """
    whole = dtype.kind != "f"
    if low == high == 0:
        return 1.0, 0.0, "[0, 255]"  # black in every range
    signed = low < SMALLEST_OF_SIGNED and high - low > NARROWEST_SIGNED
    ranges = [
        (0, 1, not whole and high > SMALLEST_OF_UNIT),
        (-1, 1, signed),
        (0, 255, high > LARGEST_OF_255),
    ]
    for black, white, is_wide_enough in ranges:
        beyond = max(black - low, high - white) / white
        if is_wide_enough and beyond <= OVERSHOOT:
            clipped = f", up to {beyond:.2g} of white beyond it clipped"
            text = f"[{black}, {white}]{clipped if beyond > TOLERANCE else ''}"
            return 255 / (white - black), -black, text
    if dtype == np.uint16 and high >= SMALLEST_OF_16_BITS:
        return 255 / 65_535, 0.0, "[0, 65535]"
    accepted = "0 to 255" if whole else "[0, 1], [-1, 1] or [0, 255]"
    raise CourseError(
        f"{path}: expected pixels in {accepted}, got {dtype.name} from {low:.4g} to {high:.4g},"
        " which does not say what is black and what is white."
        f" {_conversion(whole, low, high, colours)}."
    )


def _conversion(whole: bool, low: float, high: float, colours: str) -> str:
    """Returns what to do before saving with pixels whose range cannot be told. Each piece of advice
    names the case that it is for, and ends in pixels that `_range_of` accepts.
    """
    if whole and low >= 0 and high == 1:
        return "Where 1 is white, save `images.astype(bool)`"
    if whole and -128 <= low < 0 and high <= 127:
        return "Where 128 was subtracted, save `(images.astype('int16') + 128).astype('uint8')`"
    if low >= 0 and high <= SMALLEST_OF_UNIT:
        return "Where they were divided by 255 twice, save `images * 255`"
    if (low < 0 or not whole) and -32 <= low and 200 <= high <= 287:
        return "Where white is 255, save `images.clip(0, 255)`"
    if low >= 0 and LARGEST_OF_255 / 50 < high <= 255:
        return (
            "Where white is 255, save `images.round().astype('uint8')`; else divide by the value"
            " of white and save floats in [0, 1]"
        )
    if low >= 0 and high > 255:
        return (
            "Divide by the value of white (4095 of 12 bits, 65535 of 16) and save floats in [0, 1]"
        )
    if -1.25 <= low and high <= 1.25:
        return (
            "Where black is 0 and white is 1, save `images.clip(0, 1)`; where black is -1,"
            " `(images.clip(-1, 1) + 1) / 2`; where a mean was subtracted, add it"
        )
    undo = "They look normalised: undo it with the mean and standard deviation of the training"
    if colours:  # one number for all channels would tint grey
        imagenet = f"({colours} * [0.229, 0.224, 0.225] + [0.485, 0.456, 0.406]).clip(0, 1)"
        return f"{undo}, one of each a channel; where those are ImageNet's, save `{imagenet}`"
    std, mean = 1 / (high - low), -low / (high - low)
    return (
        f"{undo}, `images * std + mean`; where the darkest pixel is black and the brightest white"
        f" that is `images * {std:.6g} + {mean:.6g}`"
    )
