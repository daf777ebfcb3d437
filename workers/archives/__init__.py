"""Archives of what leaves the database: a file of JSON lines and its manifest, read back before anything is dropped."""
