"""Adds the architectures of ``models/`` to this Python, and to every process it starts."""

import os
from importlib import import_module

_HERE = os.path.dirname(__file__)
import_module("serplatform.models").__path__.append(os.path.join(_HERE, "models"))
