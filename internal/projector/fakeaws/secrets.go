package fakeaws

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"
)

// Staging labels that Secrets Manager moves by itself.
const (
	Current  = "AWSCURRENT"
	Previous = "AWSPREVIOUS"
)

// Of secrets: https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html
const (
	maxSecretValue    = 65536
	maxSecretName     = 512
	maxSecretVersions = 100
	maxStages         = 20
)

// Secret is a secret of Secrets Manager.
type Secret struct {
	Name, Description, KMSKey string
	Tags                      map[string]string
	// Versions by their IDs, and the labels of each.
	Versions map[string]string
	Stages   map[string][]string
	// Deleted is when it will be gone; zero if it is not scheduled for deletion.
	Deleted time.Time
	changed time.Time
	order   []string // of the versions, the oldest first
}

// at is the version that has a label; empty if there is none.
func (s *Secret) at(stage string) string {
	for id, stages := range s.Stages {
		if slices.Contains(stages, stage) {
			return id
		}
	}
	return ""
}

// move gives a label to a version, and AWSPREVIOUS to the one that was AWSCURRENT.
func (s *Secret) move(stage, to string) {
	from := s.at(stage)
	if from == to {
		return
	}
	s.unlabel(stage)
	s.Stages[to] = append(s.Stages[to], stage)
	if stage == Current && from != "" {
		s.move(Previous, from)
	}
	s.changed = time.Now()
}

func (s *Secret) unlabel(stage string) {
	for id, stages := range s.Stages {
		s.Stages[id] = slices.DeleteFunc(slices.Clone(stages), func(l string) bool { return l == stage })
	}
}

// add makes a version. Those without a label go once there are too many of them.
func (s *Secret) add(id, value string) {
	s.Versions[id], s.order, s.changed = value, append(s.order, id), time.Now()
	for i := 0; len(s.Versions) > maxSecretVersions && i < len(s.order); i++ {
		if old := s.order[i]; len(s.Stages[old]) == 0 && old != id {
			delete(s.Versions, old)
			delete(s.Stages, old)
			s.order = slices.Delete(s.order, i, i+1)
			i--
		}
	}
}

type secretIn struct {
	SecretID            string `json:"SecretId"`
	Name                string
	Description         string
	KMSKeyID            string `json:"KmsKeyId"`
	SecretString        string
	ClientRequestToken  string
	VersionID           string `json:"VersionId"`
	VersionStage        string
	VersionStages       []string
	MoveToVersionID     string `json:"MoveToVersionId"`
	RemoveFromVersionID string `json:"RemoveFromVersionId"`
	Tags                []tag
	Recovery            *int `json:"RecoveryWindowInDays"`
	Force               bool `json:"ForceDeleteWithoutRecovery"`
	Filters             []struct {
		Key    string
		Values []string
	}
	MaxResults int
	NextToken  string
}

type secretOut struct {
	ARN, Name     string
	VersionID     string              `json:"VersionId,omitempty"`
	SecretString  string              `json:",omitempty"`
	VersionStages []string            `json:",omitempty"`
	Stages        map[string][]string `json:"VersionIdsToStages,omitempty"`
	ListStages    map[string][]string `json:"SecretVersionsToStages,omitempty"`
	KMSKeyID      string              `json:"KmsKeyId,omitempty"`
	Description   string              `json:",omitempty"`
	LastChanged   float64             `json:"LastChangedDate,omitempty"`
	CreatedDate   float64             `json:",omitempty"`
	DeletedDate   float64             `json:",omitempty"`
}

// secretSuffix stands for the six random characters at the end of a secret's ARN.
const secretSuffix = "-AbCdEf"

const secretARN = "arn:aws:secretsmanager:" + Region + ":" + Account + ":secret:"

// Secrets is Secrets Manager.
type Secrets struct {
	*account
	byName map[string]*Secret // guarded by mu
}

func newSecrets(a *account) *Secrets {
	return &Secrets{account: a, byName: make(map[string]*Secret)}
}

func (s *Secrets) operations() map[string]handler {
	return map[string]handler{
		"secretsmanager.CreateSecret":             operation(s.account, s.createSecret),
		"secretsmanager.GetSecretValue":           operation(s.account, s.getSecretValue),
		"secretsmanager.DescribeSecret":           operation(s.account, s.describeSecret),
		"secretsmanager.PutSecretValue":           operation(s.account, s.putSecretValue),
		"secretsmanager.UpdateSecret":             operation(s.account, s.updateSecret),
		"secretsmanager.UpdateSecretVersionStage": operation(s.account, s.updateStage),
		"secretsmanager.DeleteSecret":             operation(s.account, s.deleteSecret),
		"secretsmanager.RestoreSecret":            operation(s.account, s.restoreSecret),
		"secretsmanager.ListSecrets":              operation(s.account, s.listSecrets),
	}
}

func (s *Secrets) secret(id string) (*Secret, error) {
	name := id
	if rest, ok := strings.CutPrefix(id, secretARN); ok && len(rest) > len(secretSuffix) {
		name = rest[:len(rest)-len(secretSuffix)]
	}
	if is := s.byName[name]; is != nil {
		return is, nil
	}
	return nil, fail("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
}

// live is for operations that a secret scheduled for deletion does not allow.
func (s *Secrets) live(id string) (*Secret, error) {
	is, err := s.secret(id)
	if err == nil && !is.Deleted.IsZero() {
		return nil, fail("InvalidRequestException", "You can't perform this operation on the secret because it was marked for deletion.")
	}
	return is, err
}

func (s *Secret) out(version string) *secretOut {
	return &secretOut{ARN: secretARN + s.Name + secretSuffix, Name: s.Name, VersionID: version, VersionStages: s.Stages[version]}
}

// createSecret is idempotent for a token and a value.
func (s *Secrets) createSecret(in secretIn) (*secretOut, error) {
	if old := s.byName[in.Name]; old != nil {
		if was, ok := old.Versions[in.ClientRequestToken]; ok && was == in.SecretString && old.Deleted.IsZero() {
			return old.out(in.ClientRequestToken), nil
		}
		if !old.Deleted.IsZero() {
			return nil, fail("InvalidRequestException", "You can't create this secret because a secret with this name is already scheduled for deletion.")
		}
		return nil, fail("ResourceExistsException", "The operation failed because the secret %s already exists.", in.Name)
	}
	if err := checkSecret(in); err != nil {
		return nil, err
	}
	if in.Name == "" || len(in.Name) > maxSecretName || strings.ContainsFunc(in.Name, func(r rune) bool { return !nameRune(r) && !strings.ContainsRune("/+=@", r) }) {
		return nil, invalid("Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!")
	}
	if slices.Contains(s.faults.DeadKeys, in.KMSKeyID) {
		return nil, fail("EncryptionFailure", "Secrets Manager can't encrypt the protected secret text using the provided KMS key.")
	}
	is := &Secret{
		Name: in.Name, Description: in.Description, KMSKey: in.KMSKeyID, Tags: make(map[string]string), Versions: make(map[string]string), Stages: make(map[string][]string),
	}
	for _, t := range in.Tags {
		is.Tags[t.Key] = t.Value
	}
	id := cmp.Or(in.ClientRequestToken, newID())
	is.add(id, in.SecretString)
	is.move(Current, id)
	s.byName[in.Name] = is
	return is.out(id), nil
}

func checkSecret(in secretIn) error {
	switch n := len(in.ClientRequestToken); {
	case in.SecretString == "":
		return fail("InvalidParameterException", "You must provide either SecretString or SecretBinary.")
	case len(in.SecretString) > maxSecretValue:
		return invalid("Member must have length less than or equal to %d", maxSecretValue)
	case n > 0 && (n < 32 || n > 64):
		return fail("InvalidParameterException", "ClientRequestToken must be 32-64 characters long.")
	}
	return nil
}

func (s *Secrets) getSecretValue(in secretIn) (*secretOut, error) {
	is, err := s.live(in.SecretID)
	if err != nil {
		return nil, err
	}
	id := cmp.Or(in.VersionID, is.at(cmp.Or(in.VersionStage, Current)))
	value, ok := is.Versions[id]
	if !ok {
		return nil, fail("ResourceNotFoundException", "Secrets Manager can't find the specified secret value for VersionId: %s", id)
	}
	if slices.Contains(s.faults.DeadKeys, is.KMSKey) {
		return nil, fail("DecryptionFailure", "Secrets Manager can't decrypt the protected secret text using the provided KMS key.")
	}
	out := is.out(id)
	out.SecretString = value
	return out, nil
}

func (s *Secrets) describeSecret(in secretIn) (*secretOut, error) {
	is, err := s.secret(in.SecretID)
	if err != nil {
		return nil, err
	}
	out := is.out("")
	out.Stages, out.KMSKeyID, out.Description, out.LastChanged = labeled(is.Stages), is.KMSKey, is.Description, seconds(is.changed)
	if !is.Deleted.IsZero() {
		out.DeletedDate = seconds(is.Deleted)
	}
	return out, nil
}

// labeled are the versions that have a label: the others are deprecated, and not shown.
func labeled(stages map[string][]string) map[string][]string {
	out := maps.Clone(stages)
	maps.DeleteFunc(out, func(_ string, labels []string) bool { return len(labels) == 0 })
	return out
}

// putSecretValue is idempotent for a token: the same value again does nothing.
// https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html
func (s *Secrets) putSecretValue(in secretIn) (*secretOut, error) {
	is, err := s.live(in.SecretID)
	if err != nil {
		return nil, err
	}
	if err := checkSecret(in); err != nil {
		return nil, err
	}
	if slices.Contains(s.faults.DeadKeys, is.KMSKey) {
		return nil, fail("EncryptionFailure", "Secrets Manager can't encrypt the protected secret text using the provided KMS key.")
	}
	id := cmp.Or(in.ClientRequestToken, newID())
	if was, ok := is.Versions[id]; ok {
		if was != in.SecretString {
			return nil, fail("ResourceExistsException", "You can't modify an existing version, you can only create a new version.")
		}
		return is.out(id), nil
	}
	is.add(id, in.SecretString)
	stages := in.VersionStages
	if len(stages) == 0 {
		stages = []string{Current}
	}
	for _, stage := range stages {
		is.move(stage, id)
	}
	return is.out(id), nil
}

func (s *Secrets) updateSecret(in secretIn) (*secretOut, error) {
	is, err := s.live(in.SecretID)
	if err != nil {
		return nil, err
	}
	if in.SecretString != "" {
		return nil, fail("UnsupportedOperationException", "the fake's UpdateSecret changes no value: use PutSecretValue")
	}
	is.KMSKey, is.Description = cmp.Or(in.KMSKeyID, is.KMSKey), cmp.Or(in.Description, is.Description)
	is.changed = time.Now()
	return is.out(""), nil
}

// updateStage moves a label, if it is where the caller says.
// https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_UpdateSecretVersionStage.html
func (s *Secrets) updateStage(in secretIn) (*secretOut, error) {
	is, err := s.live(in.SecretID)
	if err != nil {
		return nil, err
	}
	from := is.at(in.VersionStage)
	switch {
	case in.RemoveFromVersionID != "" && from != in.RemoveFromVersionID:
		return nil, fail("InvalidParameterException", "The staging label %s is currently attached to version %s. You must specify the version that it's attached to.", in.VersionStage, from)
	case in.MoveToVersionID != "" && from != "" && from != in.MoveToVersionID && in.RemoveFromVersionID == "":
		return nil, fail("InvalidParameterException", "The parameter RemoveFromVersionId can't be empty. Staging label %s is currently attached to version %s.", in.VersionStage, from)
	case in.MoveToVersionID == "" && in.VersionStage == Current:
		return nil, fail("InvalidParameterException", "You can only move staging label AWSCURRENT to a different secret version.")
	case in.MoveToVersionID == "":
		is.unlabel(in.VersionStage)
		return is.out(""), nil
	}
	if _, ok := is.Versions[in.MoveToVersionID]; !ok {
		return nil, fail("ResourceNotFoundException", "Secrets Manager can't find the specified secret version: %s.", in.MoveToVersionID)
	}
	if len(is.Stages[in.MoveToVersionID]) >= maxStages {
		return nil, fail("LimitExceededException", "You have exceeded the maximum number of staging labels.")
	}
	is.move(in.VersionStage, in.MoveToVersionID)
	return is.out(""), nil
}

func (s *Secrets) deleteSecret(in secretIn) (*secretOut, error) {
	is, err := s.live(in.SecretID)
	if err != nil {
		return nil, err
	}
	days := 30
	if in.Recovery != nil {
		days = *in.Recovery
	}
	if days < 7 || days > 30 {
		return nil, fail("InvalidParameterException", "The RecoveryWindowInDays value must be between 7 and 30 days (inclusive).")
	}
	if is.Deleted = time.Now().AddDate(0, 0, days); in.Force {
		delete(s.byName, is.Name)
	}
	out := is.out("")
	out.DeletedDate = seconds(is.Deleted)
	return out, nil
}

func (s *Secrets) restoreSecret(in secretIn) (*secretOut, error) {
	is, err := s.secret(in.SecretID)
	if err != nil {
		return nil, err
	}
	is.Deleted, is.changed = time.Time{}, time.Now()
	return is.out(""), nil
}

type listSecretsOut struct {
	SecretList []*secretOut
	NextToken  string `json:",omitempty"`
}

// listSecrets leaves out what is scheduled for deletion, and with Faults.DescribedAt what was
// changed later.
// https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_ListSecrets.html
func (s *Secrets) listSecrets(in secretIn) (*listSecretsOut, error) {
	prefix := ""
	for _, f := range in.Filters {
		if f.Key != "name" || len(f.Values) != 1 {
			return nil, invalid("the fake filters by one name alone")
		}
		prefix = f.Values[0]
	}
	limit := cmp.Or(in.MaxResults, 100)
	if s.faults.ShortPages {
		limit = 2
	}
	after, err := readToken(in.NextToken)
	if err != nil {
		return nil, err
	}
	then := s.faults.DescribedAt
	out := &listSecretsOut{SecretList: []*secretOut{}}
	for _, name := range slices.Sorted(maps.Keys(s.byName)) {
		is := s.byName[name]
		if name <= after || !strings.HasPrefix(name, prefix) || !is.Deleted.IsZero() || !then.IsZero() && is.changed.After(then) {
			continue
		}
		if len(out.SecretList) == limit {
			out.NextToken = writeToken(out.SecretList[limit-1].Name)
			break
		}
		entry := is.out("")
		entry.ListStages, entry.KMSKeyID, entry.LastChanged = labeled(is.Stages), is.KMSKey, seconds(is.changed)
		out.SecretList = append(out.SecretList, entry)
	}
	return out, nil
}

// Set makes a secret, or a new version of it that becomes AWSCURRENT, as the
// console and rotation do.
func (s *Secrets) Set(name, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	is := s.byName[name]
	if is == nil || !is.Deleted.IsZero() {
		is = &Secret{Name: name, Tags: make(map[string]string), Versions: make(map[string]string), Stages: make(map[string][]string)}
		s.byName[name] = is
	}
	id := newID()
	is.add(id, value)
	is.move(Current, id)
}

// Get returns a secret as it is now; ok is false if there is none.
func (s *Secrets) Get(name string) (is Secret, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.byName[name]; p != nil {
		is = *p
		is.Versions, is.Stages = maps.Clone(p.Versions), labeled(p.Stages)
		return is, true
	}
	return Secret{}, false
}

// Value is what a version with a label says.
func (s Secret) Value(stage string) string { return s.Versions[s.at(stage)] }

// At is the ID of the version with a label.
func (s Secret) At(stage string) string { return s.at(stage) }

// Names lists all secrets that are not scheduled for deletion, in order.
func (s *Secrets) Names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Sorted(maps.Keys(s.byName)), func(n string) bool { return !s.byName[n].Deleted.IsZero() })
}

// Remove deletes a secret by hand, without a recovery window.
func (s *Secrets) Remove(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byName, name)
}
