"""Find the files of a model in a local folder or on the Hugging Face hub."""

import difflib
import logging
import os
from pathlib import Path

from bart.errors import InputError


def find_file(name_or_path: str | os.PathLike[str], filename: str) -> Path | None:
    """Find one file of a model, and download (and cache) it if needed.

    Args:
        name_or_path: a local folder, or a hub id such as facebook/bart-large.
        filename: name of the file within the model.

    Returns:
        The local path, or None if the model has no such file.

    Raises:
        InputError: there is no such model, or it cannot be reached.
    """
    folder = Path(name_or_path)
    if folder.is_dir():
        return folder / filename if (folder / filename).is_file() else None
    return _find_on_hub(os.fspath(name_or_path), filename)


def _find_on_hub(name: str, filename: str) -> Path | None:
    from huggingface_hub import _CACHED_NO_EXIST, errors, hf_hub_download, try_to_load_from_cache

    # The library logs every retry; the error below says it once.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    nowhere = f"{name}: no such folder or file here{_beside(Path(name))}"
    if (
        name.startswith((".", "/", "~"))
        or name.count("/") > 1
        or Path(name).suffix in (".ckpt", ".pt", ".bin", ".json")
    ):
        raise InputError(f"{nowhere}; give a folder, a .ckpt file or a hub id such as facebook/bart-large")
    try:
        return Path(hf_hub_download(name, filename))
    except errors.LocalEntryNotFoundError as error:
        if try_to_load_from_cache(name, filename) is _CACHED_NO_EXIST:  # the hub has answered so before
            return None
        raise InputError(f"{nowhere}, and the hub cannot be reached for {filename}; download it first") from error
    except errors.EntryNotFoundError:
        return None
    except errors.GatedRepoError as error:
        raise InputError(
            f"{name}: the hub asks for access to this model; request it there and run `hf auth login`"
        ) from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise InputError(f"{nowhere}, and no such model on the hub; check the name") from error
    except (errors.HfHubHTTPError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{name}: {filename} could not be fetched from the hub: {reason}") from error


def _beside(path: Path) -> str:
    """Return a hint to a similar name in the folder above, or an empty text if there is none."""
    if path.parent == Path() or not path.parent.is_dir():
        return ""
    names = sorted(entry.name for entry in path.parent.iterdir() if not entry.name.startswith("."))
    near = difflib.get_close_matches(path.name, names, n=1)
    return f" (did you mean {path.parent / near[0]}?)" if near else ""
