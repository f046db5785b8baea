//! Time classes (`Hr03`, `Min00_05`, `Q1`, `Monday` …) of a moment in local time (cfengine2.md 9.2). Pure: the moment is given.
