"""Text from documents made fit to stand in a prompt: nothing hidden, no commands to a model.

The second line of defence. The first is the prompt itself: the text stands between marks with a
random boundary, there are no tools, and only a short answer of a fixed schema is taken.
"""

import re
import secrets
import unicodedata
from dataclasses import dataclass

from rag_platform.llm.injections import RULES

REMOVED_INSTRUCTION = "[instruction removed]"
REMOVED_MARK = "[mark removed]"

# Shows nothing, or changes how other characters show: control, zero-width, bidi, fillers, tags,
# variation selectors. Half a surrogate pair cannot be sent at all.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff\ud800-\udfff]"
)
# What a terminal takes for colours (ECMA-48, 5.4); without its first character it would stay.
_TERMINAL = re.compile(r"(?:\x1b\[|\x9b)[0-?]{0,64}[ -/]{0,8}[@-~]")
_LINE_ENDS = re.compile("\r\n?|[\u2028\u2029]")

# Tokens that chat templates give a meaning to, and tags that look like a turn of a conversation.
_TOKENS = re.compile(
    r"<\|[^\s<>|]{1,40}\|>"
    r"|\[/?(?:inst|system_prompt|available_tools|tool_calls|tool_results)\]"
    r"|<</?sys>>"
    r"|</?(?:s|bos|eos|start_of_turn|end_of_turn|system|assistant|human|developer|instructions?"
    r"|system[-_]prompt|tool_call|tool_response|think)>"
    r"|^[ \t]*#{2,4}[ \t]*(?:system|instruction|response|assistant|human|user)[ \t]*:"
    r"|^[ \t]*[-=*#<\[]{2,20}[ \t]*(?:begin|start|end)[ \t]+(?:of[ \t]+)?(?:the[ \t]+)?"
    r"(?:untrusted[ \t]+)?(?:data|document|input|content|context|system prompt)"
    r"[ \t]*[-=*#>\]]{2,20}[ \t]*$",
    re.MULTILINE,
)
# Three of them would look like the marks around data.
_BRACKETS = re.compile(r"<<<+|>>>+")
_ROLE = re.compile(
    r"^[ \t>*_-]{0,8}(?:system|assistant|developer|human|user)[ \t*_]{0,4}(:)", re.MULTILINE
)

# A command often goes on in the sentences after it: it is removed to the end of its paragraph.
_REST = re.compile(r"(?:(?!\n[ \t]*\n).){0,400}", re.DOTALL)

# Letters of other scripts that look like Latin ones. Only whole words of a rule are compared, so
# ordinary Russian or Greek text matches nothing.
_LOOK_ALIKE = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u04bb\u0501\u051b"
    "\u03b1\u03b5\u03bf\u03c1\u03bd\u03b9\u0131\u0261",
    "aeopcyxijshdqaeopviig",
)


@dataclass(frozen=True, slots=True)
class Neutralized:
    """Text without what was hidden in it; counts of hidden characters and of instructions."""

    text: str
    hidden: int
    instructions: int


def new_boundary() -> str:
    """A boundary that no document can guess: 32 hexadecimal digits."""
    return secrets.token_hex(16)


def neutralize(text: str) -> Neutralized:
    """Take out of `text` what a reader would not see and what speaks to a model.

    Invisible characters and HTML comments are removed; instructions to a model give way to
    `REMOVED_INSTRUCTION`, tokens of chat templates to `REMOVED_MARK`; role headers lose their
    colon. Runs in time linear in the length of `text`.
    """
    text = _LINE_ENDS.sub("\n", text)
    text, in_terminal = _TERMINAL.subn("", text)
    text, invisible = _INVISIBLE.subn("", text)
    text, in_comments = _without_comments(text)
    plain = folded(text)
    commands = _commands(plain)
    changes = [(start, end, REMOVED_INSTRUCTION) for start, end in commands]
    changes += [(*found.span(), REMOVED_MARK) for found in _TOKENS.finditer(plain)]
    changes += [(*found.span(), found[0][:2]) for found in _BRACKETS.finditer(plain)]
    changes += [(*found.span(1), " -") for found in _ROLE.finditer(plain)]
    return Neutralized(
        _changed(text, changes), in_terminal + invisible + in_comments, len(commands)
    )


def _without_comments(text: str) -> tuple[str, int]:
    """The text without HTML comments, and the number of characters they took."""
    parts, position, removed = [], 0, 0
    while (start := text.find("<!--", position)) >= 0:
        end = text.find("-->", start + 4)
        if end < 0:
            break
        # A space in its place, or what stands around it could join to a comment.
        parts += [text[position:start], " "]
        position, removed = end + 3, removed + end + 3 - start
    return "".join([*parts, text[position:]]), removed


class _Folding(dict[int, str]):
    """Each character as the rules spell it, one for one: small, Latin, without accents."""

    def __missing__(self, code: int) -> str:
        folded = unicodedata.normalize("NFKC", chr(code)).lower().translate(_LOOK_ALIKE)
        decomposed = unicodedata.normalize("NFD", folded)
        # Accents of Latin letters only: in other scripts such marks make another letter.
        folded = decomposed[0] if decomposed[:1].isascii() and decomposed else folded
        self[code] = folded if len(folded) == 1 else chr(code)
        return self[code]


_FOLDING = _Folding()
_NOT_ASCII = re.compile("[^\x00-\x7f]+")


def folded(text: str) -> str:
    """`text` in the spelling of the rules, of the same length."""
    if text.isascii():
        return text.lower()
    # Letter by letter is slow, and most letters of most texts are ASCII.
    text = _NOT_ASCII.sub(lambda run: run[0].translate(_FOLDING), text)
    return text.encode(errors="surrogatepass").lower().decode(errors="surrogatepass")


def _commands(text: str) -> list[tuple[int, int]]:
    """Where instructions to a model stand in folded text, in order and without overlap."""
    found = sorted(match.span() for rule in RULES for match in rule.found(text))
    spans: list[tuple[int, int]] = []
    for start, end in found:
        if not spans or start >= spans[-1][1]:
            rest = _REST.match(text, start)
            spans.append((start, max(end, rest.end() if rest else end)))
    return spans


def _changed(text: str, changes: list[tuple[int, int, str]]) -> str:
    """`text` with spans replaced; of two that overlap the earlier, or longer, one counts."""
    parts, position = [], 0
    for start, end, replacement in sorted(changes, key=lambda change: (change[0], -change[1])):
        if start >= position:
            parts += [text[position:start], replacement]
            position = end
    return "".join([*parts, text[position:]])
