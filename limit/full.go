package limit

// Full reports whether a call of priority p would find no room now. It takes nothing and
// never waits: it is for whoever can go elsewhere. To an adaptive limit it is somebody who
// found no room all the same.
func (l *Limiter) Full(p Priority) bool {
	w := l.word.Load()
	if inFlight(w) < room(l.Limit(), p) && waiting(w) == 0 {
		return false
	}
	if l.adaptive != nil {
		l.adaptive.hold()
	}
	return true
}
