"""Where events get their numbers and are kept, the cursors of readers, and the seam of the journal."""
