package directory

// OnStep has a function told of each step of a write.
func (s *Sink) OnStep(f func(step string)) { s.step = f }
