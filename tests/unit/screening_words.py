"""Words that no text of a screening may use: a claim beyond the evidence, in any language."""

from __future__ import annotations

import re

# "Stages are not told apart" may be said; naming one may not.
WORDS = (
    r"diagnos", r"n[eé]gati[fv]", r"positi[fv]e? (?:for|pour|au|à)", r"malaria[- ]free", r"exempt",
    r"阴性", r"诊断", r"确诊",
    r"falciparum", r"vivax", r"malariae", r"\bovale\b", r"knowlesi", r"恶性疟", r"间日疟",
    r"trophozo", r"schizont", r"schizonte", r"\bring stage", r"滋养体", r"裂殖体", r"环状体",
    r"(?-i:\bWHO\b)", r"(?-i:\bOMS\b)", r"世界卫生组织",
)  # fmt: skip


def forbidden(said: str) -> list[str]:
    return [word for word in WORDS if re.search(word, said, re.IGNORECASE)]
