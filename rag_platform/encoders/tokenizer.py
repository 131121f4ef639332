"""The reference tokenizer: the measure of every size in tokens, and wordllama's own input.

It gives exactly the ids of the Llama-2 byte-pair tokenizer that comes in wordllama's wheel, several
times faster. Byte-pair encoding only ever builds entries of its vocabulary, so a text may be cut
wherever no entry has the two neighbouring characters side by side; the pieces are then encoded one
by one and remembered. Two cuts are used: words, which are what repeats, and inside a word that is
new, runs of letters or of punctuation, which repeat even more. `_check_cuts` holds the vocabulary
against both.
"""

import functools
import hashlib
import importlib.util
import itertools
import json
import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rag_platform.errors import PlatformError

Ints = NDArray[np.int32]

_SPACE = "▁"  # how the vocabulary writes a space
_BREAKS = "\t\n\v\f\u2028\u2029\u3000"  # whitespace that no longer entry has
_REMEMBERED = 40_000_000  # bytes, for words, and as many for parts of words
_LONGEST_REMEMBERED = 512  # characters; Chinese and Japanese hardly know spaces
_ENTRY = 200  # bytes of an entry besides its text and its ids
_BLOCK = 1 << 17  # characters cut into words at a time
_SLICE = 4096  # characters of an unbroken run that are encoded at once for positions


class UnknownTokenizer(PlatformError):
    """The installed tokenizer is missing or is not the one that this module knows how to cut."""


@dataclass(frozen=True, slots=True)
class Spans:
    """The words of a text, in order, as arrays of one length; whitespace lies between them.

    Word k is text[starts[k]:ends[k]]; `totals[k]` counts the tokens from the start of the text to
    the end of word k. `inside[k]` says that word k goes on from word k-1 within one run of letters
    or punctuation: the tokens on both sides of a cut there may differ from those of the whole.
    """

    starts: Ints
    ends: Ints
    totals: Ints
    inside: NDArray[np.bool_]


def wordllama_folder() -> Path:
    """Where wordllama is installed; it is not imported, since its import configures logging."""
    spec = importlib.util.find_spec("wordllama")
    if spec is None or spec.origin is None:
        raise UnknownTokenizer("tokenizer: wordllama is not installed. Run: pip install wordllama")
    return Path(spec.origin).parent


@functools.cache
def reference_tokenizer() -> "ReferenceTokenizer":
    """The tokenizer of this process, so that all share what it remembers."""
    return ReferenceTokenizer(
        wordllama_folder() / "tokenizers" / "l2_supercat_tokenizer_config.json"
    )


class ReferenceTokenizer:
    """Counts and encodes; safe to share between threads. `identity` changes with the vocabulary."""

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer

        written = path.read_bytes()
        self.identity = f"{path.stem}:{hashlib.sha256(written).hexdigest()[:16]}"
        config = json.loads(written)
        special = {token["content"]: token["id"] for token in config["added_tokens"]}
        self._special = {text: np.int32(id_).tobytes() for text, id_ in special.items()}
        specials = re.compile("(" + "|".join(map(re.escape, special)) + ")")
        self._split_special, self._find_special = specials.split, specials.search
        entries = [
            entry
            for entry in config["model"]["vocab"]
            if len(entry) > 1 and entry not in special and not re.fullmatch("<0x..>", entry)
        ]
        mergeable = set("".join(entries)) - {_SPACE}
        letters = "".join(sorted(filter(str.isalpha, mergeable)))
        others = "".join(sorted(mergeable - set(letters)))
        letter, other = f"[{re.escape(letters)}]", f"[{re.escape(others)}]"
        alone = f"[^{re.escape(letters + others)} {_SPACE}]"  # in no entry but its own
        breaks = f"[{_BREAKS}]+"
        self._words = re.compile(
            rf"[ {_SPACE}]*[^ {_SPACE}{_BREAKS}]+|[ {_SPACE}]+|{breaks}"
        ).findall
        self._parts = re.compile(
            rf"[ {_SPACE}]*(?:{letter}+|{other}+)|[ {_SPACE}]+|[0-9]+|{breaks}|{alone}"
        ).findall
        self._find_alone = re.compile(alone).search
        self._check_cuts(entries, mergeable)
        self._model = Tokenizer.from_str(written.decode()).model
        self._ids_of_word = _Remembered(self._encode_word)
        self._ids_of_part = _Remembered(self._encode_part)

    def count(self, text: str) -> int:
        """How many tokens `text` has on its own."""
        return len(self._encode(text)) // 4

    def ids(self, text: str) -> Ints:
        """The token ids of `text`, without a begin marker."""
        return np.frombuffer(self._encode(text), np.int32)

    def ids_batch(self, texts: Sequence[str]) -> tuple[Ints, NDArray[np.int64]]:
        """The ids of all texts end to end, and where each begins: text i has [at[i]:at[i + 1]]."""
        encoded = list(map(self.ids, texts))
        at = np.zeros(len(texts) + 1, np.int64)
        np.cumsum([len(ids) for ids in encoded], out=at[1:])
        return (np.concatenate(encoded) if encoded else np.empty(0, np.int32)), at

    def spans(self, text: str, *, longest: int) -> Spans:
        """The words of `text`; one of over `longest` tokens is given in parts.

        Only a single character may still have more than `longest` (five at most).
        """
        starts, ends, counts, inside = [], [], [], []
        for offset, section in self._sections(text):
            position = offset
            for words in self._blocks(section):
                pieces, tokens, within = self._fine(words, longest)
                lengths = np.fromiter(map(len, pieces), np.int32, len(pieces))
                bare = np.fromiter(map(len, map(str.lstrip, pieces)), np.int32, len(pieces))
                end = position + np.cumsum(lengths, dtype=np.int32)
                starts.append(end - bare)
                ends.append(end)
                counts.append(tokens)
                inside.append(within)
                position = int(end[-1])
        if not starts:
            empty = np.empty(0, np.int32)
            return Spans(empty, empty, empty, np.empty(0, np.bool_))
        first, last = np.concatenate(starts), np.concatenate(ends)
        kept = first < last
        totals = np.cumsum(np.concatenate(counts), dtype=np.int32)
        return Spans(first[kept], last[kept], totals[kept], np.concatenate(inside)[kept])

    def _sections(self, text: str) -> Iterator[tuple[int, str]]:
        """The text between special tokens, each with the space that the tokenizer prepends,
        and the special tokens themselves; with where each begins in `text`."""
        position = 0
        for section in self._split_special(text):
            if section in self._special:
                yield position, section
            elif section:
                yield position - 1, " " + section
            position += len(section)

    def _blocks(self, section: str) -> Iterator[list[str]]:
        """The words of a section, in lists of bounded length where the text allows."""
        if section in self._special:
            yield [section]
            return
        begin = 0
        while begin < len(section):
            safe = self._find_alone(section, begin + _BLOCK)
            end = safe.start() if safe else len(section)
            yield self._words(section[begin:end])
            begin = end

    def _encode(self, text: str) -> bytes:
        """The ids of `text` as packed int32."""
        if 0 < len(text) <= _BLOCK and not self._find_special(text):
            return b"".join(map(self._ids_of_word.__getitem__, self._words(" " + text)))
        return b"".join(
            b"".join(map(self._ids_of_word.__getitem__, words))
            for _, section in self._sections(text)
            for words in self._blocks(section)
        )

    def _encode_word(self, word: str) -> bytes:
        if word in self._special:
            return self._special[word]
        return b"".join(map(self._ids_of_part.__getitem__, self._parts(word)))

    def _encode_part(self, part: str) -> bytes:
        tokens = self._model.tokenize(part.replace(" ", _SPACE))
        return array("i", [token.id for token in tokens]).tobytes()

    def _fine(self, words: list[str], longest: int) -> tuple[list[str], Ints, NDArray[np.bool_]]:
        """`words` with those of over `longest` tokens in parts: texts, counts, inside a run."""
        encoded = map(self._ids_of_word.__getitem__, words)
        counts = np.fromiter(map(len, encoded), np.int32, len(words)) // 4
        large = np.flatnonzero(counts > longest).tolist()
        if not large:
            return words, counts, np.zeros(len(words), np.bool_)
        pieces: list[str] = []
        sizes: list[int] = []
        within: list[bool] = []
        begin = 0
        for k in large:
            pieces += words[begin:k]
            sizes += counts[begin:k].tolist()
            within += [False] * (k - begin)
            begin = k + 1
            parts = self._parts(words[k])
            tokens = [len(self._ids_of_part[part]) // 4 for part in parts]
            inner = [False] * len(parts)
            if max(tokens) > longest:
                parts, tokens, inner = self._split_runs(parts, tokens, longest)
            pieces += parts
            sizes += tokens
            within += inner
        pieces += words[begin:]
        sizes += counts[begin:].tolist()
        within += [False] * (len(words) - begin)
        return pieces, np.array(sizes, np.int32), np.array(within, np.bool_)

    def _split_runs(
        self, parts: list[str], sizes: list[int], longest: int
    ) -> tuple[list[str], list[int], list[bool]]:
        """`parts` with those of over `longest` tokens given token by token, slice by slice."""
        pieces: list[str] = []
        counts: list[int] = []
        within: list[bool] = []
        for part, size in zip(parts, sizes, strict=True):
            if size <= longest or len(part) == 1 or part.isspace():
                pieces.append(part)
                counts.append(size)
                within.append(False)
                continue
            for begin in range(0, len(part), _SLICE):
                piece = part[begin : begin + _SLICE]
                tokens = self._model.tokenize(piece.replace(" ", _SPACE))
                ends = itertools.accumulate((len(token.value) for token in tokens), initial=0)
                pieces += [piece[a:b] for a, b in itertools.pairwise(ends)]
                counts += [1] * len(tokens)
                within += [begin > 0] + [True] * (len(tokens) - 1)
        return pieces, counts, within

    def _check_cuts(self, entries: list[str], mergeable: set[str]) -> None:
        """Refuse a vocabulary with an entry that the cuts would part."""
        whole = all(self._parts(entry) == self._words(entry) == [entry] for entry in entries)
        if not whole or mergeable & set(_BREAKS + "0123456789"):
            raise UnknownTokenizer(
                f"tokenizer: {self.identity} cannot be cut into words as this version does. "
                "Install the version of wordllama that the lock file names"
            )


class _Remembered(dict[str, bytes]):
    """What `make` gives for a text, kept for short texts, all forgotten when it is too much."""

    def __init__(self, make: Callable[[str], bytes]) -> None:
        self._make = make
        self._size = 0

    def __missing__(self, text: str) -> bytes:
        made = self._make(text)
        if len(text) <= _LONGEST_REMEMBERED:
            self._size += _ENTRY + 2 * len(text) + len(made)
            if self._size > _REMEMBERED:
                self.clear()
                self._size = 0
            self[text] = made
        return made
