package limit

// Full reports whether a call of priority p would find no room now. It takes nothing and
// never waits: it is for whoever can go elsewhere, and says so with [Limiter.Missed].
func (l *Limiter) Full(p Priority) bool {
	w := l.word.Load()
	return inFlight(w) >= room(l.Limit(), p) || waiting(w) > 0
}

// Missed tells an adaptive limit that it held a call back: one that would have taken a
// slot, and went elsewhere when [Limiter.Full] said that there was no room. Without that
// the limit would not be measured again. For any other limit it does nothing.
func (l *Limiter) Missed() {
	if l.adaptive != nil {
		l.adaptive.hold()
	}
}
