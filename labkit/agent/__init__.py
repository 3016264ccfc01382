"""What labkit does on a host for a controller elsewhere: `labkit agent`, started over SSH, ended with its input."""
