"""Pictures in files: which files of a folder are one, and how one is opened."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageFile, UnidentifiedImageError

from calibrant.errors import InputError

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
#: What archivers and file managers leave behind.
_LITTER = ("__MACOSX", "lost+found", "Thumbs.db")


def is_litter(name: str) -> bool:
    """Tell whether a file or folder of this name is none of a data set's.

    Example:
        >>> is_litter("._cat.jpg"), is_litter(".ipynb_checkpoints"), is_litter("cat.jpg")
        (True, True, False)
    """
    return name.startswith((".", "@")) or name in _LITTER


def is_picture(name: str) -> bool:
    """Tell by its name whether a file is a picture of a data set."""
    return name.lower().endswith(IMAGES) and not is_litter(name)


@contextmanager
def opened(path: Path) -> Iterator[ImageFile.ImageFile]:
    """Open a picture.

    Raises:
        InputError: it is missing, damaged or too large.
    """
    try:
        with Image.open(path) as picture:
            yield picture
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"There is no image {path}, which the data set lists; fetch it again.") from None
    except Image.DecompressionBombError as error:
        raise InputError(f"{path} is too large ({error}); make it smaller.") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path} cannot be read as an image ({error}); fetch it again.") from None


def read_picture(path: Path, mode: str = "RGB") -> Image.Image:
    """Return a picture in a mode of Pillow.

    Raises:
        InputError: as of `opened`; or it has more than 8 bits a channel, which the conversion would cut off.
    """
    with opened(path) as picture:
        if picture.mode[0] in "IF":
            raise InputError(
                f"{path} has more than 8 bits a channel (mode {picture.mode!r}): convert it to 8, in a range "
                "that fits all of your images."
            )
        return picture.convert(mode)
