"""People whose data was erased: by what a row names its person, and the marks that keep them from coming back."""
