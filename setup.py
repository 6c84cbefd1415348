"""
Build in a folder that is thrown away; everything else is in setup.cfg.

A ``build`` left in the checkout would put modules into the next wheel that are gone by then.
"""

import tempfile

from setuptools import setup

with tempfile.TemporaryDirectory() as folder:
    setup(options={"build": {"build_base": folder}, "egg_info": {"egg_base": folder}})
