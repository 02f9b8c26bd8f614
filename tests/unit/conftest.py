# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Property tests draw the same cases in every run, so that a change is judged by what it changes.

The long runs draw new ones: ``pytest tests/unit --hypothesis-profile=default``.
"""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")
