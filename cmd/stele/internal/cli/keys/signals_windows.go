package keys

import "os"

// userSignals are the signals whose meaning a command defines itself: Windows does not
// have any.
var userSignals []os.Signal
