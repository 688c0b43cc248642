"""The command line: parses, calls, prints; decides nothing. Each command is loaded when it is used."""

import errno
import os
import sys
from collections.abc import Sequence

from calibrant.errors import InputError

#: What the core does without; the command line says which extra brings it.
OPTIONAL = (
    "jinja2",
    "jsonargparse",
    "lightning",
    "matplotlib",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "rich",
    "skimage",
    "sklearn",
    "timm",
    "torchvision",
    "transformers",
)
#: What is wrong with a path that the user named, or with the disk, rather than with us.
PLACES = (
    errno.EACCES,
    errno.EDQUOT,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; a mistake of the user is one line on stderr and status 2."""
    try:
        from calibrant.cli.parser import parse

        command, options = parse(sys.argv[1:] if arguments is None else list(arguments))
        status = command(options) or 0
        sys.stdout.flush()
        return status
    except InputError as error:
        print(f"calibrant: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in OPTIONAL:
            raise
        print(f"calibrant: this needs {package}; pip install 'calibrant[all]' brings it.", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # Who reads has seen enough; what is still in the buffer must not fail again when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.errno not in PLACES:
            raise
        place = "A file" if error.filename is None else error.filename
        print(f"calibrant: {place} cannot be read or written: {error.strerror}.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("calibrant: interrupted; the same command goes on from here.", file=sys.stderr)
        return 130
