"""Find the files of a model in a local folder or on the Hugging Face hub."""

import difflib
import logging
import os
import time
from pathlib import Path

from bart.errors import InputError

_TIMEOUT = 5  # seconds to wait for the hub's first answer, if HF_HUB_ETAG_TIMEOUT does not say it
_SILENCE = 60  # seconds for which a hub that has not answered is not asked again: a model has many files

_answers: dict[str, float] = {}  # "yes" or "no": when the hub answered, or failed to, by time.monotonic()


def find_file(name_or_path: str | os.PathLike[str], filename: str) -> Path | None:
    """Find one file of a model, and download (and cache) it if needed.

    Args:
        name_or_path: a local folder, or a hub id such as facebook/bart-large.
        filename: name of the file within the model.

    Returns:
        The local path, or None if the model has no such file.

    Raises:
        InputError: there is no such model, or it cannot be reached. The hub is not asked for a name that looks like a
            path, unless it has sent that model before; and if it does not answer, what it has sent is used.
    """
    folder = Path(name_or_path)
    if folder.is_dir():
        return folder / filename if (folder / filename).is_file() else None
    return _find_on_hub(os.fspath(name_or_path), filename)


def _find_on_hub(name: str, filename: str) -> Path | None:
    nowhere = f"{name}: no such folder or file here{_beside(Path(name))}"
    advice = "give a folder, a .ckpt file or a hub id such as facebook/bart-large"
    if _has_the_form_of_a_path(name):
        raise InputError(f"{nowhere}; {advice}")
    above = Path(name).parent
    if above != Path() and above.is_dir() and not _is_cached(name):
        raise InputError(f"{nowhere}; the folder {above} is here, so this is read as a path; {advice}")

    from huggingface_hub import _CACHED_NO_EXIST, errors, hf_hub_download, try_to_load_from_cache

    # The library logs every retry; the error below says it once.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        only_cached = not _hub_answers(name, filename)
        return Path(hf_hub_download(name, filename, etag_timeout=_timeout(), local_files_only=only_cached))
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


def _has_the_form_of_a_path(name: str) -> bool:
    """Tell whether a name is no hub id, OWNER/NAME or NAME."""
    return (
        name.startswith((".", "/", "~"))
        or name.count("/") > 1
        or Path(name).suffix in (".ckpt", ".pt", ".bin", ".json")
    )


def _is_cached(name: str) -> bool:
    """Tell whether a file of this hub id has been sent before."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    return Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=name, repo_type="model")).is_dir()


def _timeout() -> float:
    """Return the seconds to wait for the hub's first answer."""
    from huggingface_hub import constants

    return constants.HF_HUB_ETAG_TIMEOUT if "HF_HUB_ETAG_TIMEOUT" in os.environ else _TIMEOUT


def _hub_answers(name: str, filename: str) -> bool:
    """Ask the hub for a file, and return whether it answers anything at all.

    The library itself asks again and again for 23 seconds, and with longer waits if nothing refuses the connection.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    if "yes" in _answers or time.monotonic() - _answers.get("no", -_SILENCE) < _SILENCE:
        return "yes" in _answers
    try:
        get_hf_file_metadata(hf_hub_url(name, filename), timeout=_timeout())
    except (HfHubHTTPError, HFValidationError):
        pass  # an answer, which the caller gets once more
    except Exception:  # of the HTTP library, which differs between versions; or the user asked to stay offline
        _answers["no"] = time.monotonic()
        return False
    _answers["yes"] = time.monotonic()
    return True


def _beside(path: Path) -> str:
    """Return a hint to a similar name in the folder above, or an empty text if there is none."""
    if path.parent == Path() or not path.parent.is_dir():
        return ""
    names = sorted(entry.name for entry in path.parent.iterdir() if not entry.name.startswith("."))
    near = difflib.get_close_matches(path.name, names, n=1)
    return f" (did you mean {path.parent / near[0]}?)" if near else ""
