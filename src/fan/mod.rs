//! Running one thing on many hosts: window, time-outs, transcripts, worst status.
