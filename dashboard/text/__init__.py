"""Numbers as words: captions and verdicts, the glossary, and the languages that are spoken."""
