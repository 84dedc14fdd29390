package fakeaws

// UserPools is Amazon Cognito user pools, of which it knows the app clients alone.
type UserPools struct {
	*account
	clients map[userPoolClientID]userPoolClient // guarded by mu
}

type userPoolClientID struct{ UserPoolId, ClientId string }

type userPoolClient struct {
	UserPoolId, ClientId string
	WriteAttributes      []string `json:",omitzero"`
}

func newUserPools(a *account) *UserPools {
	return &UserPools{account: a, clients: make(map[userPoolClientID]userPoolClient)}
}

// SetClient makes an app client of a pool, whose users can write these attributes.
func (s *UserPools) SetClient(pool, client string, writable ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients[userPoolClientID{pool, client}] = userPoolClient{pool, client, writable}
}

func (s *UserPools) operations() map[string]handler {
	return map[string]handler{"AWSCognitoIdentityProviderService.DescribeUserPoolClient": operation(s.account, s.describeUserPoolClient)}
}

type describeUserPoolClientOut struct{ UserPoolClient userPoolClient }

func (s *UserPools) describeUserPoolClient(in userPoolClientID) (*describeUserPoolClientOut, error) {
	client, ok := s.clients[in]
	if !ok {
		return nil, fail("ResourceNotFoundException", "User pool client %s does not exist.", in.ClientId)
	}
	return &describeUserPoolClientOut{client}, nil
}
