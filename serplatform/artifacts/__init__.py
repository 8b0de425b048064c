"""The files that stages exchange: what each holds, how it is written whole and read checked."""
