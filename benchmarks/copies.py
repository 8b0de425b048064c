"""How well copies are told from other takes: misses, false pairs, bytes and seconds.

Every clip gets a twin of each kind (louder, later, through a codec, …). A twin is found when
``find_copies`` pairs it with its own original; any pair of different recordings is false. The
limit on bit errors is chosen on eight of RAVDESS's actors, and judged on its other sixteen and
on nEMO. All pairs of recordings are also compared exhaustively, at every shift, without the
index that ``find_copies`` uses.

    SERPLATFORM_RAVDESS=DIR SERPLATFORM_NEMO=DIR python benchmarks/copies.py > copies.json

Prints one JSON object: hardware, versions, date, command, numbers.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import scipy.fft
import soundfile
import soxr

from serplatform.corpora.audio import audio_hash, read_audio
from serplatform.environment import hardware, now, versions
from serplatform.features import fingerprint as module
from serplatform.features.fingerprint import bit_error, find_copies, fingerprint

Samples = np.ndarray
RATE = 16_000
TUNING = tuple(f"Actor_{actor:02d}" for actor in range(1, 9))


def rounded(samples: Samples) -> Samples:
    return (np.clip(np.rint(samples * 32768), -32768, 32767) / 32768).astype(np.float32)


def resampled(samples: Samples, source: int, target: int) -> Samples:
    if source == target:
        return samples
    return soxr.resample(samples, source, target, quality="HQ").astype(np.float32)


def coded(
    container: str, codec: str, rate: int = RATE, level: float | None = None
) -> Callable[[Samples], tuple[Samples, float]]:
    """Through a codec and back; also the kilobits a second that it took."""

    def code(samples: Samples) -> tuple[Samples, float]:
        file = io.BytesIO()
        kind = {"format": container, "subtype": codec, "compression_level": level}
        soundfile.write(file, resampled(samples, RATE, rate), rate, **kind)
        size = file.tell()
        file.seek(0)
        read, found = soundfile.read(file, dtype="float32")
        return resampled(read, found, RATE), size * 8 / 1000 / (len(samples) / RATE)

    return code


def dithered(samples: Samples) -> Samples:
    rng = np.random.default_rng(len(samples))
    return rounded(samples + rng.integers(-1, 2, len(samples)).astype(np.float32) / 32768)


def zeros(count: int) -> Callable[[Samples], Samples]:
    return lambda samples: np.r_[np.zeros(count, np.float32), samples]


TWINS: dict[str, Callable[[Samples], Any]] = {
    "+3 dB": lambda x: rounded(x * 10**0.15),
    "-12 dB": lambda x: rounded(x * 10**-0.6),
    "10 ms of zeros in front": zeros(160),
    "0.5 s of zeros in front": zeros(8_000),
    "1 sample cut": lambda x: x[1:],
    "100 ms cut": lambda x: x[1_600:],
    "dither of 1 bit": dithered,
    "48 kHz": lambda x: resampled(resampled(x, RATE, 48_000), 48_000, RATE),
    "8 kHz": lambda x: resampled(resampled(x, RATE, 8_000), 8_000, RATE),
    "8 kHz, mu-law": coded("WAV", "ULAW", 8_000),
    "OGG Vorbis": coded("OGG", "VORBIS"),
    "MP3": coded("MP3", "MPEG_LAYER_III"),
    "Opus": coded("OGG", "OPUS"),
    "MP3, coarse": coded("MP3", "MPEG_LAYER_III", level=0.99),
    "Opus, coarse": coded("OGG", "OPUS", level=0.99),
    "37 ms of zeros, -6 dB, MP3 of 44.1 kHz, coarse": lambda x: coded(
        "MP3", "MPEG_LAYER_III", 44_100, 0.9
    )(np.r_[np.zeros(592, np.float32), 0.5 * x]),
    "middle half": lambda x: x[len(x) // 4 : -(len(x) // 4)],
}
#: the copies that the issue names, which the limit has to let through
NAMED = tuple(TWINS)[:13]


def twins(path: Path) -> tuple[str, list[bytes | None], list[float], float]:
    """A file's hash, fingerprints of it and of its twins, kilobits a second, processor seconds."""
    samples = read_audio(path).samples
    fingerprint(samples)
    began = time.process_time()
    prints = [fingerprint(samples)]
    spent = time.process_time() - began
    rates = []
    for change in TWINS.values():
        made = change(samples)
        made, rate = made if isinstance(made, tuple) else (made, 0.0)
        prints.append(fingerprint(np.ascontiguousarray(made, np.float32)))
        rates.append(rate)
    return audio_hash(samples), prints, rates, spent


def words(prints: Sequence[bytes | None]) -> list[np.ndarray]:
    return [np.frombuffer(value or b"", "<u4") for value in prints]


def least_error(one: np.ndarray, other: np.ndarray) -> float:
    """Share of differing bits at the best shift that ``find_copies`` would accept."""
    best = 1.0
    for shift in range(-len(one) + 1, len(other)):
        begin, end = max(0, -shift), min(len(one), len(other) - shift)
        if end - begin >= module.MIN_OVERLAP * min(len(one), len(other)):
            error, count = bit_error(one[begin:end], other[begin + shift : end + shift])
            if count >= module.MIN_FRAMES:
                best = min(best, float(error))
    return best


def exhaustive(clips: list[np.ndarray], block: int = 16) -> Iterator[tuple[int, np.ndarray]]:
    """Least error of each clip with all others, at every shift, by Fourier transforms."""
    lengths = np.array([len(clip) for clip in clips])
    longest = int(lengths.max())
    size = scipy.fft.next_fast_len(2 * longest, real=True)
    signs = np.zeros((len(clips), 33, size), np.float32)  # of 32 bits, and where words are
    for row, clip in enumerate(clips):
        bits = np.unpackbits(clip.view(np.uint8).reshape(-1, 4), axis=1, bitorder="little")
        known = clip != 0
        signs[row, :32, : len(clip)] = np.where(known[:, None], bits * 2.0 - 1, 0).T
        signs[row, 32, : len(clip)] = known
    spectra = np.ascontiguousarray(scipy.fft.rfft(signs, axis=2).transpose(2, 0, 1))
    del signs
    turned = np.ascontiguousarray(spectra[:, :, :32].transpose(0, 2, 1))
    shift = np.arange(size)
    shift = np.where(shift <= longest, shift, shift - size)[None, None]
    for first in range(0, len(clips), block):
        some = spectra[:, first : first + block].conj()
        agreed = np.matmul(some[:, :, :32], turned).transpose(1, 2, 0)
        both = (some[:, :, 32, None] * spectra[:, None, :, 32]).transpose(1, 2, 0)
        agreed = scipy.fft.irfft(agreed, n=size, axis=2)
        both = np.rint(scipy.fft.irfft(both, n=size, axis=2))
        one, other = lengths[first : first + block, None, None], lengths[None, :, None]
        common = np.minimum(one, other - shift) - np.maximum(0, -shift)
        valid = common >= module.MIN_OVERLAP * np.minimum(one, other)
        valid &= both >= module.MIN_FRAMES
        error = np.where(valid, 0.5 - agreed / (64 * np.maximum(both, 1)), 1.0)
        yield first, error.min(axis=2)


def nearest(hashes: list[str], prints: list[bytes | None], names: list[str]) -> dict[str, Any]:
    """Errors of all pairs of different recordings."""
    found = []
    for first, errors in exhaustive(words(prints)):
        for row, column in zip(*np.nonzero(errors < 0.42), strict=True):
            one, other = first + int(row), int(column)
            if one < other and hashes[one] != hashes[other]:
                found.append((round(float(errors[row, column]), 4), names[one], names[other]))
    found.sort()
    count = len(prints)
    return {
        "pairs": count * (count - 1) // 2,
        "below_the_limit": sum(entry[0] <= module.MAX_BIT_ERROR for entry in found),
        "nearest": found[:8],
    }


def judge(hashes: list[str], prints: list[list[bytes | None]]) -> dict[str, Any]:
    """Twins missed and false pairs, of a set of files."""
    count = len(hashes)
    originals = [each[0] for each in prints]
    alone = find_copies(originals, range(count))
    false = [pair for pair in alone if hashes[pair[0]] != hashes[pair[1]]]
    kinds = {}
    for number, kind in enumerate(TWINS, 1):
        pairs = find_copies([*originals, *(each[number] for each in prints)], range(2 * count))
        own = {(row, row + count) for row in range(count)}
        wrong = {
            (one % count, other % count)
            for one, other in pairs
            if hashes[one % count] != hashes[other % count]
        }
        missed = count - len(own & set(pairs))
        kinds[kind] = {"missed": missed, "of": count, "false_pairs": len(wrong)}
    return {
        "clips": count,
        "pairs_of_different_recordings": count * (count - 1) // 2 - (len(alone) - len(false)),
        "false_pairs": len(false),
        "clips_in_a_wrong_group": len({row for pair in false for row in pair}),
        "true_pairs_between_originals": len(alone) - len(false),
        "twins": kinds,
    }


def limit(prints: list[list[bytes | None]], near: dict[str, Any]) -> dict[str, Any]:
    """The middle between the worst named twin and the nearest two recordings."""
    worst = {
        kind: max(least_error(*words([each[0], each[number]])) for each in prints)
        for number, kind in enumerate(TWINS, 1)
        if kind in NAMED
    }
    bounds = max(worst.values()), near["nearest"][0][0]
    return {
        "worst_twin": {kind: round(value, 4) for kind, value in worst.items()},
        "nearest_recordings": bounds[1],
        "middle": round(sum(bounds) / 2, 4),
        "chosen": module.MAX_BIT_ERROR,
    }


def scale(prints: list[bytes | None], count: int) -> dict[str, Any]:
    """Time to match ``count`` clips made of pieces of real ones, a tenth of them with a twin."""
    rng = np.random.default_rng(0)
    pool = [clip for clip in words(prints) if len(clip) > 12]

    def noisy(clip: np.ndarray, share: float) -> np.ndarray:
        flips = np.packbits(rng.random((len(clip), 32)) < share, axis=1).view("<u4")[:, 0]
        return np.where(clip == 0, 0, np.maximum(clip ^ flips, 1)).astype("<u4")

    clips = []
    for _ in range(count - count // 10):
        pieces = [pool[i] for i in rng.integers(0, len(pool), 8)]
        starts = [int(rng.integers(0, len(piece) - 11)) for piece in pieces]
        cut = [piece[s : s + 11] for piece, s in zip(pieces, starts, strict=True)]
        clips.append(noisy(np.concatenate(cut), 0.05))
    clips += [noisy(clip, 0.1) for clip in clips[: count // 10]]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    pairs = find_copies([clip.tobytes() for clip in clips], range(count))
    seconds = time.perf_counter() - began
    own = {(row, row + count - count // 10) for row in range(count // 10)}
    return {
        "clips": count,
        "seconds": round(seconds, 2),
        "megabytes_more": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024,
        "twins_found": len(own & set(pairs)),
        "twins": len(own),
        "false_pairs": len(set(pairs) - own),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--every", type=int, default=1, help="take every n-th file only")
    arguments = parser.parse_args()
    corpora, result = {}, {}
    rates: list[list[float]] = []
    for name in ("RAVDESS", "NEMO"):
        folder = Path(os.environ[f"SERPLATFORM_{name}"])
        files = sorted(p for p in folder.rglob("*") if p.suffix in (".wav", ".flac"))
        files = files[:: arguments.every]
        with ProcessPoolExecutor(2) as pool:
            made = list(pool.map(twins, files, chunksize=16))
        corpora[name] = (files, [each[0] for each in made], [each[1] for each in made])
        rates += [each[2] for each in made]
        sizes = [len(each[1][0] or b"") for each in made]
        result[f"cost_{name}"] = {
            "bytes_a_clip": round(float(np.mean(sizes)), 1),
            "most_bytes": max(sizes),
            "ms_a_clip": round(1000 * float(np.median([each[3] for each in made])), 3),
        }
        print(f"{name}: {len(files)} clips", file=sys.stderr, flush=True)
    mean = np.mean(rates, axis=0)
    result["kilobits_a_second"] = {
        k: round(float(r), 1) for k, r in zip(TWINS, mean, strict=True) if r
    }
    files, hashes, prints = corpora["RAVDESS"]
    tuning = [row for row, file in enumerate(files) if file.parent.name in TUNING]
    others = [row for row, file in enumerate(files) if file.parent.name not in TUNING]
    for name, rows in (("tuning", tuning), ("held_out", others), ("RAVDESS", range(len(files)))):
        some = [hashes[r] for r in rows], [prints[r] for r in rows]
        result[name] = judge(*some)
        if name != "held_out":
            stems = [files[r].stem for r in rows]
            result[name]["exhaustive"] = nearest(some[0], [each[0] for each in some[1]], stems)
    result["limit"] = limit([prints[r] for r in tuning], result["tuning"]["exhaustive"])
    files, hashes, prints = corpora["NEMO"]
    result["nEMO"] = judge(hashes, prints)
    originals = [each[0] for each in prints]
    result["nEMO"]["exhaustive"] = nearest(hashes, originals, [file.stem for file in files])
    both = [each[0] for _, _, made in corpora.values() for each in made]
    began = time.perf_counter()
    first = [each[0] for each in corpora["RAVDESS"][2]]
    find_copies(first, range(len(first)))
    result["matching"] = [{"clips": len(first), "seconds": round(time.perf_counter() - began, 2)}]
    result["matching"] += [scale(both, count) for count in arguments.scale]
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent,
    ).stdout.strip()
    packages = ("scipy", "soundfile", "soxr")
    print(
        json.dumps(
            {
                "date": now(),
                "command": "python benchmarks/copies.py " + " ".join(sys.argv[1:]),
                "commit": commit,
                "hardware": hardware(),
                "versions": {
                    **versions(),
                    "libsndfile": soundfile.__libsndfile_version__,
                    **{name: version(name) for name in packages},
                },
                "fingerprint_version": module.FINGERPRINT_VERSION,
                **result,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
