"""One file a revision. They are never changed once released, and import nothing of the project's."""
