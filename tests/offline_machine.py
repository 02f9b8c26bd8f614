# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The machine with the key of an offline root. People copy the folder there, type what they are told, and come back."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path


class Machine:
    """folder: its copy of the custody's folder, with the key. passphrase: of that key. output: of the last commands."""

    def __init__(self, folder: Path, passphrase: str) -> None:
        self.folder = folder
        self.passphrase = passphrase
        self.output = ""

    def does(self, custody: Path, text: str) -> list[str]:
        """Do what a message says, to the letter, and give the names of the files brought back."""
        shutil.copytree(custody, self.folder, dirs_exist_ok=True)
        self.output = ""
        for line in text.splitlines():
            if not line.startswith("     ") or line.lstrip().startswith("#"):
                continue
            # Without a terminal, openssl reads the passphrase from its input: once per question.
            done = subprocess.run(
                ["sh", "-c", line],
                cwd=self.folder,
                input=f"{self.passphrase}\n" * 2,
                capture_output=True,
                text=True,
                start_new_session=True,
                check=False,
            )
            assert done.returncode == 0, (line, done.stderr)
            self.output += done.stdout + done.stderr
        back = re.search(r"^3\. Bring (.*) back to", text, re.MULTILINE)
        assert back is not None, text
        names = back[1].split(" and ")
        for name in names:
            shutil.copy(self.folder / name, custody / name)
        return names
