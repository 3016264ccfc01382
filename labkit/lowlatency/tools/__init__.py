"""External programs: one file a program, typed argv in, typed result out, its parser tested on recorded output."""
