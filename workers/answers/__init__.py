"""The rules for answers: what each type of question accepts, and how it is stored."""
