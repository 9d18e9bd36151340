"""The pages: choose, call, show. Streamlit lives here and in app.py alone."""
