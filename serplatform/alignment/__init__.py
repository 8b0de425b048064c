"""Where the words and phones of an utterance lie: one file a source."""
