# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can be wrong with a bundle: every mutator there is, by name."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from tests.fuzz.draft import Case, Draft, Stage, good
from tests.fuzz.keyring import Keyring
from tests.fuzz.mutators import blocks, encoding, fields, lists, roots, text


@dataclass(frozen=True)
class Mutator:
    """One kind of flaw. weight: how often it is taken, relative to the others."""

    name: str
    stage: Stage
    apply: Callable[[Draft], None]
    weight: int = 10


MUTATORS = (
    *(Mutator(f"field-{name}", Stage.FIELDS, apply, weight) for name, apply, weight in fields.MUTATORS),
    *(Mutator(f"roots-{name}", Stage.FIELDS, apply, weight) for name, apply, weight in roots.MUTATORS),
    *(Mutator(f"list-{name}", Stage.FIELDS, apply, weight) for name, apply, weight in lists.MUTATORS),
    *(Mutator(f"asn1-{name}", Stage.FIELDS, apply, weight) for name, apply, weight in encoding.SIGNED),
    *(Mutator(f"der-{name}", Stage.ENCODING, apply, weight) for name, apply, weight in encoding.UNSIGNED),
    *(Mutator(f"file-{name}", Stage.BLOCKS, apply, weight) for name, apply, weight in blocks.MUTATORS),
    *(Mutator(f"text-{name}", Stage.TEXT, apply, weight) for name, apply, weight in text.MUTATORS),
)
_WEIGHTS = [mutator.weight for mutator in MUTATORS]


def case(seed: int, index: int, now: datetime, keys: Keyring) -> Case:
    """One spoiled bundle, or a good one now and then. The same arguments give the same case."""
    rng = random.Random(f"{seed}:{index}")
    draft = good(rng, keys, now)
    number = rng.choices((0, 1, 2, 3), (1, 60, 27, 12))[0]
    chosen = sorted(rng.choices(MUTATORS, _WEIGHTS, k=number), key=lambda mutator: mutator.stage)
    steps = {Stage.FIELDS: lambda: None, Stage.ENCODING: draft.sign, Stage.BLOCKS: draft.arrange,
             Stage.TEXT: draft.write}  # fmt: skip
    for stage in Stage:
        steps[stage]()
        for mutator in chosen:
            if mutator.stage == stage:
                mutator.apply(draft)
    return Case(seed, index, now, tuple(mutator.name for mutator in chosen), draft.files, tuple(draft.federation))
