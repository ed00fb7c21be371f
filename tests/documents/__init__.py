"""Each block of commands, options and code in the documents, and what is done with it.

`ledger.toml` has an entry for each block: the test that runs it, or how it is checked, or why neither. What is run is
read from the document, so it is what the reader types; and the ledger has its checksum, so that a document cannot
change without somebody running it again (`python -m tests.documents.ledger` then writes the new checksums).
"""
