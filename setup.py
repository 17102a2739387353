"""The list of packages; everything else about the distribution stands in pyproject.toml.

`pretrained/` lies beside `zoo/` and is imported as `zoo.pretrained`: setuptools' finder cannot
give a package another name, and a list by hand would forget the next sub-package.
"""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["zoo", "zoo.*"]), "zoo.pretrained"])
