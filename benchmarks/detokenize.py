"""Test texts as they were cut into words → English as people write it.

The GPT-2 paper's own de-tokenizers (section 3.1; for the Children's Book Test, 3.2) are not
public. They are said to be invertible: a text loses nothing, so that its probability is
that of the original. These lose little: of the Penn Treebank's test text all 3,761 lines
come back by the inverse in tests/test_zero_shot.py, of WikiText's 2,555 of 2,891, and
99.8 % of all words; what is lost is whether the full stop of "No." or "U.S." stood apart.
How many lines of the One Billion Words come back has not been measured.
"""

import re

# (pattern, replacement), applied in turn
Rules = tuple[tuple[str, str], ...]

PUNCTUATION: Rules = (
    (r" ([,.;:!?%)\]])(?= |$)", r"\1"),
    (r"([(\[$£]) (?=\S)", r"\1"),
)
PROSE: Rules = (
    *PUNCTUATION,
    (r" ('(?:s|t|re|ve|ll|d|m)\b)", r"\1"),
    (r"(?<=s) '(?= |$)", "'"),  # the players '
    (r'" ([^"]*) "', r'"\1"'),
)
WIKITEXT: Rules = (
    (r" @([-,.])@ ", r"\1"),  # 3 @,@ 000
    *PROSE,
    (r"= (?==)", "="),
)
PTB: Rules = (
    (r" (n't|'s|'re|'ve|'ll|'d|'m|')(?= |$)", r"\1"),
    (r"([$#]) (?=N)", r"\1"),
    (r"\\/", "/"),
)
ONE_BILLION: Rules = (*PROSE, (r" ?/ ?", "/"))
CHILDREN: Rules = (  # the Penn Treebank's form: -LRB- is a bracket, `` and '' are quotes
    (r"-L[RCS]B-", "("),
    (r"-R[RCS]B-", ")"),
    *PUNCTUATION,
    (r" (n't|'(?:s|re|ve|ll|d|m))\b", r"\1"),
    (r""" (?:''|")(?!\w)""", '"'),
    (r"`` ?", '"'),
    (r" '(?!\w)", "'"),  # a closing quote, or the players '
    (r"` ", "'"),
)


def detokenize(rules: Rules, line: str) -> str:
    for pattern, replacement in rules:
        line = re.sub(pattern, replacement, line.strip())
    return line
