"""What pyproject.toml cannot say: the configs lie at the top of the repository and travel in the package."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConfigs(build_py):
    """Copy conf/ to spatialprop/conf; an editable install reads the original."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib, "spatialprop", "conf")
            shutil.rmtree(target, ignore_errors=True)  # an earlier build may have left configs that are gone
            shutil.copytree("conf", target)


setup(cmdclass={"build_py": BuildWithConfigs})
