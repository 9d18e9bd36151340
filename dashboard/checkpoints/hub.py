"""A Hub id -> a directory of the Hub's cache, with those files of a model that are read.

``owner/name`` means the newest version, ``owner/name@revision`` a branch, a tag or a commit. Where
a model has its weights as safetensors and as a pickle, the pickle stays where it is. Downloads that
were cut off go on where they were, and what is in the cache is not fetched again, nor asked for
where the Hub cannot be reached. The cache, the token and the Hub's address are those of
huggingface_hub: HF_HOME, HF_TOKEN, HF_ENDPOINT.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dashboard.checkpoints.records import CheckpointError
from dashboard.messages import Message

logger = logging.getLogger(__name__)

HUB_ID = re.compile(r"(?P<repository>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>\w[\w./-]*))?", re.ASCII)
TOKENIZER_FILES = ("*.json", "*.model", "*.txt")
MODEL_FILES = (*TOKENIZER_FILES, "*.safetensors", "pytorch_model*.bin")
# What state-spaces' models were trained with, and are evaluated with in their own repository
# (evals/lm_harness_eval.py); their checkpoints come without one.
STATE_SPACES_TOKENIZER = "EleutherAI/gpt-neox-20b"


class FetchError(CheckpointError):
    """A model that the Hub does not give, or that cannot be had from here."""


OnBytes = Callable[[int, int], None]  # how many bytes are there, and of how many


def is_hub_id(name: str) -> bool:
    """Whether a name has the form of a Hub repository's, owner/name, with a revision or without;
    a path may have it, too."""
    return HUB_ID.fullmatch(name) is not None


def fetch(
    name: str,
    patterns: Sequence[str] = MODEL_FILES,
    on_bytes: OnBytes | None = None,
    anonymously: bool = False,
) -> Path:
    """Have a model's files in the Hub's cache, and give their directory.

    Args:
        name: as ``is_hub_id`` takes it.
        patterns: which files.
        on_bytes: called as they come; what it raises ends the download, which a later one goes on
            with. None draws a bar, on a terminal alone.
        anonymously: without the token of whoever runs the server.

    Raises FetchError, in one sentence that says what is missing.
    """
    import huggingface_hub as client

    match = HUB_ID.fullmatch(name)
    assert match is not None
    repository, revision = match["repository"], match["revision"]
    begun = time.perf_counter()
    token = False if anonymously else None
    logger.info("fetching %s from the Hub, unless it is in its cache", name)
    try:
        listed: Any = client.snapshot_download(
            repository, revision=revision, allow_patterns=list(patterns), token=token, dry_run=True
        )
        files = _wanted(listed)
        if not files:
            raise FetchError(Message("{name} has none of the files that are read", name=name))
        missing = [file for file in files if file.will_download]
        _check_disk(name, missing, Path(client.constants.HF_HUB_CACHE))
        bar = _bar(on_bytes, sum(file.file_size or 0 for file in missing))
        for file in missing:
            client.hf_hub_download(
                repository, file.filename, revision=file.commit_hash, token=token, tqdm_class=bar
            )
    except FetchError:
        raise
    except Exception as error:  # the Hub's client raises a dozen kinds, offline and on
        known = client.try_to_load_from_cache(repository, "config.json", revision=revision)
        logger.info("fetching %s", name, exc_info=error)
        if isinstance(known, str) and _is_unreachable(error):
            logger.info("%s is taken from the Hub's cache", name)
            return Path(known).parent
        raise FetchError(
            Message(
                "{name} could not be fetched from the Hub: {reason}",
                name=name,
                reason=_reason(error, revision),
            )
        ) from error
    directory = _directory(files[0])
    logger.info("%s is at %s after %.1f s", name, directory, time.perf_counter() - begun)
    return directory


def _wanted(listed: Sequence[Any]) -> list[Any]:
    """Without pickles where there are safetensors, and without what lies in subdirectories."""
    here = [file for file in listed if "/" not in file.filename]
    if any(file.filename.endswith(".safetensors") for file in here):
        return [file for file in here if not file.filename.endswith(".bin")]
    return here


def _directory(file: Any) -> Path:
    """The snapshot's directory, in which every file lies under its own name."""
    return Path(file.local_path).parent


def _check_disk(name: str, missing: Sequence[Any], cache: Path) -> None:
    size = sum(file.file_size or 0 for file in missing)
    place = next(path for path in (cache, *cache.parents) if path.exists())
    free = shutil.disk_usage(place).free
    if size > free:
        raise FetchError(
            Message(
                "{name} has {size} GB to fetch, and {place} has {free} GB free",
                name=name,
                size=f"{size / 1e9:.1f}",
                free=f"{free / 1e9:.1f}",
                place=place,
            )
        )


def _bar(on_bytes: OnBytes | None, total: int) -> Any:
    """What the Hub's client reports its bytes to: a bar, or a function."""
    from huggingface_hub.utils import tqdm

    done = 0

    class Bar(tqdm):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            options["disable"] = None if on_bytes is None else True
            super().__init__(*arguments, **options)
            self._count(int(options.get("initial") or 0))

        def update(self, n: float | None = 1) -> bool | None:
            self._count(int(n or 0))
            return super().update(n)

        def _count(self, number: int) -> None:
            nonlocal done
            done += number
            if on_bytes is not None and number:
                on_bytes(min(max(done, 0), total), total)

    return Bar


def _is_unreachable(error: BaseException | None) -> bool:
    """Whether the Hub did not answer at all, or is not to be asked."""
    import httpx2
    from huggingface_hub.errors import OfflineModeIsEnabled

    kinds = (OfflineModeIsEnabled, httpx2.TransportError)
    while error is not None:
        if isinstance(error, kinds):
            return True
        error = error.__cause__ or error.__context__
    return False


def _reason(error: BaseException, revision: str | None) -> str:
    """What is missing, in a sentence."""
    import huggingface_hub as client
    from huggingface_hub import errors

    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    for cause in chain:
        if isinstance(cause, errors.GatedRepoError):
            return Message(
                "its owner wants terms to be accepted: accept them on the Hub, and give a token "
                "that may read it (HF_TOKEN)"
            )
        if isinstance(cause, errors.RevisionNotFoundError):
            return Message("it has no revision {revision}", revision=revision)
        if isinstance(cause, errors.RepositoryNotFoundError):
            return Message(
                "there is no such model, or it is private and needs a token that may read it "
                "(HF_TOKEN)"
            )
    if _is_unreachable(error):
        return Message(
            "{endpoint} cannot be reached from here, and the cache {cache} does not have it; fetch "
            "it where there is a network",
            endpoint=os.environ.get("HF_ENDPOINT") or client.constants.ENDPOINT,
            cache=client.constants.HF_HUB_CACHE,
        )
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
