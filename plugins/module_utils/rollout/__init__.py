# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Has every replica of istiod and every proxy of a cluster taken a trust bundle, a signer, a list of revocations?

``held`` says what they hold, ``wanted`` what of it is missing, ``targets`` who they are; these are pure. ``reader``
asks them, ``wait`` asks again until all is well.
"""
