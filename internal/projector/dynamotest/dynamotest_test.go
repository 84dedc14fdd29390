package dynamotest_test

import (
	"net/http"
	"testing"

	"github.com/stelehq/stele/internal/projector/dynamotest"
)

func TestStart_AnswersUntilStopped(t *testing.T) {
	s, err := dynamotest.Run()
	if err == dynamotest.ErrMissing {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.Get(s.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := http.Get(s.Endpoint); err == nil {
		t.Error("it answers after it was stopped")
	}
}
