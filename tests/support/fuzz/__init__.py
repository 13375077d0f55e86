"""Fuzzing of the readers: `corpus` damaged by `mutations`, read in the reading process, and judged by `verdicts`.

``make fuzz`` runs it for a bounded time; a case is told by its file and its seed, and can be made again from them.
"""
