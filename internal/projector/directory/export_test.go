package directory

// OnStep sets a function that is called at each step of a write.
func (s *Sink) OnStep(f func(step string)) { s.step = f }
