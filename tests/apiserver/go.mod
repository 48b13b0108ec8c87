module kantaloupe/tests/apiserver

go 1.24
