# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest
from ansible_collections.multimesh.istio.plugins.module_utils.errors import MultimeshError
from ansible_collections.multimesh.istio.plugins.module_utils.pki import crl, public
from ansible_collections.multimesh.istio.plugins.module_utils.pki.request import Outcome

from tests.unit.plugins.module_utils.pki import forge
from tests.unit.plugins.module_utils.pki.forge import NOW

ROOT = forge.root()
EAST = forge.intermediate(ROOT)
LIST = crl.sign(ROOT, (), 7, NOW)


@pytest.mark.parametrize("shown", ["04AB", "04:ab", " 04:AB\n", "04ab"])
def test_fingerprints_as_people_have_them(shown: str) -> None:
    assert public.plain_fingerprint(shown) == "04ab"


def test_texts_and_back() -> None:
    texts = [forge.to_pem(ROOT.certificate).decode(), forge.to_pem(EAST.certificate, ROOT.certificate).decode()]
    assert public.read_certificates(texts) == (ROOT.certificate, EAST.certificate, ROOT.certificate)
    assert public.read_crls([crl.pem([LIST]).decode()]) == (LIST,)
    assert public.read_certificates([]) == public.read_crls([]) == ()


@pytest.mark.parametrize(
    "text", ["", "junk", "\ud800", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_a_text_that_cannot_be_read_is_named(text: str) -> None:
    good = forge.to_pem(ROOT.certificate).decode()
    with pytest.raises(MultimeshError, match=r"^certificates\[1\]: "):
        public.read_certificates([good, text])
    with pytest.raises(MultimeshError, match=r"^crls\[0\]: "):
        public.read_crls([text])


def test_what_the_module_returns() -> None:
    shown = public.result(Outcome(changed=True, root=ROOT.certificate, stage="trust", held_crls=(LIST,)), NOW)
    assert json.loads(json.dumps(shown)) == shown
    assert shown["root"]["uri_constraints"] == []
    assert {"intermediate", "candidate", "ledger"}.isdisjoint(shown), "there are none"
    key_id = shown["root"]["key_id"]
    assert shown["crl_numbers"] == [{"issuer": key_id, "number": 7}]
    assert (shown["changed"], shown["stage"], shown["share_of_life"]) == (True, "trust", 0.0)
