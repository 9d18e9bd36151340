"""What leaves the project: tables, documents, and scales as Quamba stores them."""
