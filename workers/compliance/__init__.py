"""One person's data: found, exported, corrected, erased. Told in docs/compliance.md."""
