"""Recordings of the real jambonz client, see README.md beside this file."""

from pathlib import Path
from typing import Final

TRANSCRIPTS: Final = Path(__file__).parent
